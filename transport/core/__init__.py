"""The transport, pure: time and randomness are arguments, datagrams go in and out by four verbs.

Its rooms, from top to bottom; each imports only from those below it:

- `peers`: the four verbs and what a user asks for.
- `dispatch`: one file a verb, the frames of a payload, and who has a place among the peers.
- `establish`: how a presence comes about, replaces another, renews its keys and moves.
- `peer`: what there is with one peer, as data, and what is done with it: `context` < `relay` <
  `transmit` < `mailbox` < `teardown` < `deliver`.
- `presence`: one epoch of keys and the path under it.
- `lane`: ordered entries, messages, round trips.
- `initiator`, and below it `responder`: P1 and P3, from this side and from strangers.
- `config`: what a node may tune, the handshake's own included.
- `handshake`: what both sides of a handshake share.
- `crypto`: Noise, sealed datagrams, keys, packet numbers.
- `frames`, `events`, `timers`, `types`, `constants`, `errors`: the ground.
"""
