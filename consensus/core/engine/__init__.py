"""One member's share of a group, layer above layer."""
