"""Exhaustive and seeded search for what could go wrong."""
