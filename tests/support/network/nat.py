"""A host behind a router that translates addresses (nftables) and can be given another address."""

import shutil
import subprocess
from types import TracebackType

from tests.support.network.namespaces import Namespaces, available
from tests.support.waiting import PATIENCE_S

SERVER, ROUTER = range(2)
OUTSIDE = ("10.99.0.2", "10.99.0.77")
"""The router's address, and the one it is given in exchange."""
RULES = """
table ip nat {
  chain leaving { type nat hook postrouting priority 100; oifname "eth0" masquerade; }
}
"""


def has_nat() -> bool:
    """Whether such a network can be made here."""
    return shutil.which("nft") is not None and available()


class Nat:
    """A server, and a client that reaches it through the router only."""

    def __init__(self) -> None:
        self._network = Namespaces(2)
        self._inside = f"{self._network.name(ROUTER)}in"
        self.server = self._network.command(SERVER)
        self.client = ["ip", "netns", "exec", self._inside]
        self.address = self._network.address(SERVER)

    def __enter__(self) -> "Nat":
        self._network.__enter__()
        try:
            router = self._network.name(ROUTER)
            self._ip("netns", "add", self._inside)
            self._ip(
                "-n", router, "link", "add", "inner", "type", "veth",
                "peer", "name", "eth0", "netns", self._inside,
            )  # fmt: skip
            for name, device, address in (
                (router, "inner", "10.99.1.1/24"),
                (self._inside, "eth0", "10.99.1.2/24"),
            ):
                self._ip("-n", name, "addr", "add", address, "dev", device)
                self._ip("-n", name, "link", "set", device, "up")
            self._ip("-n", self._inside, "link", "set", "lo", "up")
            self._ip("-n", self._inside, "route", "add", "default", "via", "10.99.1.1")
            command = self._network.command(ROUTER)
            forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
            subprocess.run([*command, "sh", "-c", forward], check=True, timeout=PATIENCE_S)
            subprocess.run(
                [*command, "nft", "-f", "-"], input=RULES.encode(), check=True, timeout=PATIENCE_S
            )
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        subprocess.run(["ip", "netns", "del", self._inside], check=False, capture_output=True)
        self._network.__exit__()

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=PATIENCE_S)

    def move(self) -> None:
        """Give the router its other address: it forgets whom it translated, as when a line comes up
        again, and the server sees the client come from elsewhere."""
        router = self._network.name(ROUTER)
        old, new = OUTSIDE
        self._ip("-n", router, "addr", "del", f"{old}/24", "dev", "eth0")
        self._ip("-n", router, "addr", "add", f"{new}/24", "dev", "eth0")
