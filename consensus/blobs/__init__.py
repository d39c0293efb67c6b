"""Blobs on disk and on channels."""
