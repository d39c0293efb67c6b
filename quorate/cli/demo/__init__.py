"""`quorate demo`: the main job, end to end, by real processes on real sockets."""
