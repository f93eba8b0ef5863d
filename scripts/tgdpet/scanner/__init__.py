"""Scanners: a parametric cylinder, or detectors from a table."""
