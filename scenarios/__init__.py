"""The simulated world: the shipped cores under seeded networks, and explored to the end."""
