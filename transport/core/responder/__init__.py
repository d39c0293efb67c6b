"""P1 and P3 from strangers: silence, puzzle, admission."""
