"""What there is between this node and one peer, as data, and how it is sent to, heard and ended."""
