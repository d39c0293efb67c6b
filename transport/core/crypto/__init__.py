"""Noise, authenticated encryption, keys, and the numbers of packets."""
