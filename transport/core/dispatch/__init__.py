"""What the verbs of `Peers` do: datagrams in and out, timeouts, and the frames of a payload."""
