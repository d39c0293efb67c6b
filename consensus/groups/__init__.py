"""The handle on a group, and what serves it."""
