"""One epoch of keys and the path under it: sealing, liveness, and the spare epochs that follow."""
