"""Noise, authenticated encryption, keys, pseudonyms, and the numbers of packets."""
