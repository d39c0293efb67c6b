"""Network namespaces joined by a bridge, with links that can be cut. Needs root and `ip`."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.waiting import PATIENCE_S

PREFIX = "10.99.0."


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True, timeout=PATIENCE_S)


def available() -> bool:
    """Whether namespaces can be made here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"qtry{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "br0", "type", "bridge")
        _ip("-n", name, "route", "add", "blackhole", "192.0.2.1/32")
    except (subprocess.SubprocessError, OSError):
        return False
    finally:
        _ip("netns", "del", name, check=False)
    return True


class Namespaces:
    """As many hosts as there are members, on one network."""

    def __init__(self, number: int) -> None:
        self._base = f"q{os.getpid()}"
        self._number = number

    def __enter__(self) -> "Namespaces":
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*map(self.name, range(self._number)), self._switch):
            _ip("netns", "del", name, check=False)

    @property
    def _switch(self) -> str:
        return f"{self._base}sw"

    def name(self, host: int) -> str:
        """The namespace of a host."""
        return f"{self._base}h{host}"

    def address(self, host: int) -> str:
        """Where it is."""
        return f"{PREFIX}{host + 1}"

    def command(self, host: int) -> list[str]:
        """What to put before a command to run it there."""
        return ["ip", "netns", "exec", self.name(host)]

    def _make(self) -> None:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "br0", "up")
        for host in range(self._number):
            name, port = self.name(host), f"v{host}"
            _ip("netns", "add", name)
            _ip(
                "link", "add", port, "netns", self._switch, "type", "veth",
                "peer", "name", "eth0", "netns", name,
            )  # fmt: skip
            _ip("-n", self._switch, "link", "set", port, "master", "br0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")

    def cut(self, sender: int, receiver: int) -> None:
        """What the one sends to the other is lost; the other direction is as it was."""
        where = f"{self.address(receiver)}/32"
        _ip("-n", self.name(sender), "route", "replace", "blackhole", where)

    def mend(self, sender: int, receiver: int) -> None:
        """Undo `cut`."""
        where = f"{self.address(receiver)}/32"
        _ip("-n", self.name(sender), "route", "del", "blackhole", where, check=False)

    def unplug(self, host: int) -> None:
        """Cut a host off."""
        _ip("-n", self._switch, "link", "set", f"v{host}", "down")

    def plug(self, host: int) -> None:
        """Undo `unplug`."""
        _ip("-n", self._switch, "link", "set", f"v{host}", "up")


@contextmanager
def namespaces(number: int) -> Iterator[Namespaces]:
    """So many hosts, gone at the end."""
    with Namespaces(number) as made:
        yield made
