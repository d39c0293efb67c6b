"""How peers reach each other: the edge around one UDP socket, and the pure core under it."""
