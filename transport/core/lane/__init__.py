"""Ordered entries, single messages, and the round trips both are timed by."""
