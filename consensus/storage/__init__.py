"""The node file: identity, peers, letters and durable groups, in SQLite."""
