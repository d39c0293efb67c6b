"""How long files and functions are."""

import ast
from collections.abc import Iterator
from pathlib import Path

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 40
"""From `def` (without decorators) to the last line, docstring included."""
LONG = {
    "consensus/core/engine/group.py:Group.receive": "each message of a group",
    "consensus/machine/router.py:Router._carry_out": "all that a group puts out",
    "transport/core/crypto/aead_portable.py:Opener.open_untrusted": "each datagram",
    "transport/core/dispatch/frames_in.py:take_frames_untrusted": "each frame but a lane's",
    "transport/core/lane/queue.py:EntryQueue._pack_many": "each entry of a full packet",
    "transport/core/lane/sender.py:LaneSender.receive_ack_untrusted": "each acknowledgement",
}
"""Functions that may be longer, as `file:name`, with the reason: hot paths, where splitting them
would cost a call for each datagram or message."""


def long_functions(source: str, most: int = FUNCTION_LINES_MAX) -> Iterator[tuple[str, int]]:
    """Qualified names and lines of the functions of a module that are longer than that.

    A function inside another is counted by itself, and as part of the outer one.
    """
    yield from _long(ast.parse(source), "", most)


def _long(tree: ast.AST, prefix: str, most: int) -> Iterator[tuple[str, int]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{node.name}"
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if not isinstance(node, ast.ClassDef) and lines > most:
                yield name, lines
            yield from _long(node, f"{name}.", most)
        else:
            yield from _long(node, prefix, most)


def lines_of(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text().splitlines())
