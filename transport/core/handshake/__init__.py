"""What both sides of a handshake share: layouts, states, negotiation."""
