"""The invariants, and who holds histories against them."""
