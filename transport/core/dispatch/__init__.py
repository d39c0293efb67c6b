"""The four verbs of a table of peers, one file each, and the frames of a payload."""
