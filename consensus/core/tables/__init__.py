"""Counting and ordering by themselves: ballots, quorums of them, suspicion, leases."""
