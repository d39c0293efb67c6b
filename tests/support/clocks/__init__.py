"""A process of which some clocks have stood."""
