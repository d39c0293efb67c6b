"""Decisions of a group of processes: latency one after the other, throughput with many under way.

Every round starts each system anew and measures one after the other, so that what disturbs the
machine disturbs all. Peers: PySyncObj (Raft in Python), tuned and as shipped, and etcd (Raft in
Go), asked by a client process. The processor time of all members for one decision tells what a
figure would be on a machine with a core for each.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.children import Child
from benchmarks.etcd import EtcdClient, etcd_cluster, installed
from benchmarks.members import PAYLOAD, gathered
from benchmarks.raft import raft
from benchmarks.report import available, options, percentile, row

WINDOWS = (64, 1024)
WARM_SHARE = 0.2
"""Of a measurement's time, what goes before it and is not counted."""
Rows = dict[tuple[str, int, str, str], list[float]]
"""Values by system, number of members, metric and unit."""


class Table:
    """Gathers what the rounds bring, and prints it at the end."""

    def __init__(self) -> None:
        self._rows: Rows = {}

    def add(self, system: str, members: int, metric: str, unit: str, value: float) -> None:
        """One round's value."""
        self._rows.setdefault((system, members, metric, unit), []).append(value)

    def latencies(self, system: str, members: int, taken: Sequence[float]) -> None:
        """The seconds that decisions one after the other took."""
        self.add(system, members, "latency p50", "ms", 1e3 * percentile(taken, 0.5))
        self.add(system, members, "latency p99", "ms", 1e3 * percentile(taken, 0.99))

    def print(self) -> None:
        """All rows, in the order in which they first came."""
        for (system, members, metric, unit), values in self._rows.items():
            row("decide", system, metric, values, unit, members=members)


def _load(
    table: Table,
    system: str,
    members: Sequence[Child],
    proposers: Sequence[Child],
    window: int,
    seconds: float,
) -> None:
    """Rate with a window shared by the proposers, and the processor time it took."""
    before = sum(each.do("cpu") for each in members)
    share = window // len(proposers)
    for each in proposers:
        each.tell({"do": "throughput", "window": share, "seconds": seconds})
    told = [each.hear() for each in proposers]
    count = sum(done for done, _ in told)
    spent = sum(each.do("cpu") for each in members) - before
    metric = f"{window} in flight"
    table.add(system, len(members), metric, "1/s", count / max(took for _, took in told))
    table.add(system, len(members), f"{metric}: CPU of all", "us", 1e6 * spent / count)


def quorate(table: Table, number: int, seconds: float, windows: Sequence[int]) -> None:
    """This project: from its most senior and its most junior member, and from all at once."""
    with gathered(number) as members:
        for name, member in (("the senior member", members[0]), ("the junior", members[-1])):
            member.do("latency", seconds=WARM_SHARE * seconds)
            taken = member.do("latency", seconds=seconds)
            table.latencies(f"quorate, from {name}", number, taken)
        for window in windows:
            junior = members[-1:]
            _load(table, "quorate, from the junior", members, junior, window, seconds)
            _load(table, "quorate, from all", members, members, window, seconds)


def pysyncobj(
    table: Table, number: int, seconds: float, windows: Sequence[int], *, tuned: bool
) -> None:
    """PySyncObj, at its leader."""
    system = "PySyncObj tuned, at its leader" if tuned else "PySyncObj, at its leader"
    with raft(number, tuned=tuned) as members:
        members[0].do("latency", seconds=WARM_SHARE * seconds)
        table.latencies(system, number, members[0].do("latency", seconds=seconds))
        for window in windows:
            _load(table, system, members, members[:1], window, seconds)


def etcd(table: Table, number: int, seconds: float, windows: Sequence[int]) -> None:
    """etcd, asked at its leader and at a follower."""
    with etcd_cluster(number) as members:
        for name, member in (("its leader", members[0]), ("a follower", members[-1])):
            with EtcdClient(member.port) as client:
                client.latency(WARM_SHARE * seconds, PAYLOAD)
                table.latencies(f"etcd, at {name}", number, client.latency(seconds, PAYLOAD))
        with EtcdClient(members[0].port) as client:
            for window in windows:
                before = sum(member.cpu_s() for member in members)
                count, took = client.throughput(seconds, PAYLOAD, window)
                spent = sum(member.cpu_s() for member in members) - before
                metric = f"{window} in flight"
                table.add("etcd, at its leader", number, metric, "1/s", count / took)
                table.add(
                    "etcd, at its leader", number, f"{metric}: CPU of all", "us",
                    1e6 * spent / count,
                )  # fmt: skip


def main() -> None:
    """Measure everything that is installed."""
    chosen = options(__doc__)
    seconds = 0.5 if chosen.quick else 2.0
    windows = WINDOWS[:1] if chosen.quick else WINDOWS
    sizes = (3,) if chosen.quick else (3, 5, 7)
    has_raft = available("pysyncobj", "PySyncObj")
    has_etcd = installed() and not chosen.quick
    table = Table()
    runs: list[Callable[[], None]] = []
    for number in sizes:
        some = windows if number == 3 else windows[:1]
        runs.append(partial(quorate, table, number, seconds, some))
        if has_raft:
            runs.append(partial(pysyncobj, table, number, seconds, some, tuned=True))
        if has_etcd:
            runs.append(partial(etcd, table, number, seconds, some))
    if has_raft and not chosen.quick:
        runs.append(partial(pysyncobj, table, 3, seconds, WINDOWS[:1], tuned=False))
    for at in range(chosen.rounds):
        print(f"round {at + 1} of {chosen.rounds}", file=sys.stderr)
        for run in runs:
            run()
    table.print()


if __name__ == "__main__":
    main()
