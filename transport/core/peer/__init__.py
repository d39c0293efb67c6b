"""What there is between this node and one peer: lane, relay, mailbox, and how they end."""
