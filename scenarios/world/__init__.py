"""Whole nodes in a simulated network."""
