"""One epoch of keys and the path under it: opening, liveness, expiry."""
