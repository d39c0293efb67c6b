"""Every group of every test is watched: it may send nothing that its receivers would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import pytest

from consensus.core.engine.group import Group
from consensus.core.outputs import Output
from scenarios.check.upright import Upright


class Refused(AssertionError):
    """A member was about to send what it would be accused of; the text names the rule."""


@contextmanager
def all_upright() -> Iterator[None]:
    """Groups stop themselves with `Refused` meanwhile. Those of a test's own class, which break
    a rule on purpose or keep their own account, are left alone."""
    watched: WeakKeyDictionary[Group, Upright] = WeakKeyDictionary()
    poll = Group.poll

    def checked(self: Group) -> list[Output]:
        outputs = poll(self)
        if type(self) is Group:
            upright = watched.setdefault(self, Upright(self.me))
            refused = upright.take(outputs)
            if refused is not None:
                by, rule = refused
                raise Refused(f"{by} would accuse {self.me}: {rule}")
        return outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Group, "poll", checked)
        yield
