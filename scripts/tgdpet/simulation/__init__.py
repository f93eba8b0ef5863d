"""Simulated studies: phantoms, anatomies, lesions, and the Monte Carlo of their events."""
