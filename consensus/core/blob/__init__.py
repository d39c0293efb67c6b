"""The tree of a blob and its transfer, pure."""
