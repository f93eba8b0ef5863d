"""Measures, their intervals, and the findings of the paper judged by them. Nothing here draws."""
