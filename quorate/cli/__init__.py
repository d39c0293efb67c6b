"""The command `quorate`: demo, share, fetch, verify, scenario."""
