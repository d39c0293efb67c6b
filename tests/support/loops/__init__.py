"""Every way of starting an event loop, each in a process of its own."""
