"""A world for one's own program: whole nodes in virtual time, over a simulated network."""
