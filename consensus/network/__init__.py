"""Peers beside groups: reaching, trusting, introducing and writing to them."""
