"""Fuzzing: everything that reads bytes from the network, for as long as one likes."""
