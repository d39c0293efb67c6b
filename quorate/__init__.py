"""quorate: a few peers decide something together, without a server.

Open a `Node`, `found` or `join` a group, `propose`, and vote in handlers with `accept` and
`reject`. See docs/tutorial.md. All public names are here; the packages below are how they are made.
"""

from consensus import *  # noqa: F403 - `__all__` says which
from consensus import __all__ as __all__
from consensus import __version__ as __version__
