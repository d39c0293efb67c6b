"""What both sides of a handshake share: layouts, variants, states, key exchange, negotiation."""
