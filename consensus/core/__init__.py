"""The deciding engine: pure, driven through `Group`."""
