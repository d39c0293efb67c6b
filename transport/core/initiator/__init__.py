"""P1 and P3 from the side that begins, and when to send them."""
