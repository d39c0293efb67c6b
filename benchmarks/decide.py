"""Decisions of a group of processes: latency one after the other, throughput with many under way.

All systems run side by side and take turns of a fifth of a second, so that what disturbs the
machine disturbs all. Peers: PySyncObj (Raft in Python), tuned and as shipped, and etcd (Raft in
Go), asked by a client process. The processor time of all members for one decision tells what a
figure would be on a machine with a core for each.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from benchmarks.children import Child
from benchmarks.etcd import EtcdClient, etcd_cluster, installed
from benchmarks.members import PAYLOAD, SMOKE_S, gathered
from benchmarks.raft import raft
from benchmarks.report import available, options, percentile, row

WINDOWS = (64, 1024)
TURN_S = 0.2
"""How long each measurement of a turn takes."""
TURNS = 5
"""Turns of every system in a round."""
Turn = Callable[[float], None]
"""Measures everything of one system, for so many seconds each."""
Rows = dict[tuple[str, int, str, str], list[float]]
"""Values by system, number of members, metric and unit."""


class Table:
    """Gathers what the rounds bring, and prints it at the end."""

    def __init__(self) -> None:
        self._rows: Rows = {}

    def add(self, system: str, members: int, metric: str, unit: str, value: float) -> None:
        """One turn's value."""
        self._rows.setdefault((system, members, metric, unit), []).append(value)

    def latencies(self, system: str, members: int, taken: Sequence[float], spent: float) -> None:
        """The seconds that decisions one after the other took, and all members' processor time."""
        self.add(system, members, "latency p50", "ms", 1e3 * percentile(taken, 0.5))
        self.add(system, members, "latency p99", "ms", 1e3 * percentile(taken, 0.99))
        self.add(system, members, "one at a time: CPU of all", "us", 1e6 * spent / len(taken))

    def rate(
        self, system: str, members: int, window: int, count: int, took: float, spent: float
    ) -> None:
        """So many decisions in so many seconds, and all members' processor time."""
        metric = f"{window} in flight"
        self.add(system, members, metric, "1/s", count / took)
        if count:  # None at all in a turn: the machine was elsewhere.
            self.add(system, members, f"{metric}: CPU of all", "us", 1e6 * spent / count)

    def forget(self, members: int) -> None:
        """What came so far of groups of this size."""
        self._rows = {key: values for key, values in self._rows.items() if key[1] != members}

    def print(self) -> None:
        """All rows, in the order in which they first came. `good`: what the better quarter of the
        turns reached, which says most on a machine that does other things too."""
        for (system, members, metric, unit), values in self._rows.items():
            good = percentile(values, 0.75 if unit == "1/s" else 0.25)
            row("decide", system, metric, values, unit, good=float(f"{good:.4g}"), members=members)


def _one_at_a_time(
    table: Table, system: str, members: Sequence[Child], proposer: Child, seconds: float
) -> None:
    before = sum(each.do("cpu") for each in members)
    taken = proposer.do("latency", seconds=seconds)
    spent = sum(each.do("cpu") for each in members) - before
    table.latencies(system, len(members), taken, spent)


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
    table.rate(system, len(members), window, count, max(took for _, took in told), spent)


@contextmanager
def quorate(
    table: Table, number: int, windows: Sequence[int], suspicion_s: float | None
) -> Iterator[Turn]:
    """This project: from its most senior and its most junior member, and from all at once."""
    with gathered(number, suspicion_s) as members:

        def turn(seconds: float) -> None:
            for name, member in (("the senior", members[0]), ("the junior", members[-1])):
                _one_at_a_time(table, f"quorate, from {name}", members, member, seconds)
            for window in windows:
                junior = members[-1:]
                _load(table, "quorate, from the junior", members, junior, window, seconds)
                _load(table, "quorate, from all", members, members, window, seconds)

        yield turn


@contextmanager
def pysyncobj(
    table: Table, number: int, windows: Sequence[int], *, tuned: bool
) -> Iterator[Turn]:
    """PySyncObj, at its leader."""
    system = "PySyncObj tuned, at its leader" if tuned else "PySyncObj, at its leader"
    with raft(number, tuned=tuned) as members:

        def turn(seconds: float) -> None:
            _one_at_a_time(table, system, members, members[0], seconds)
            for window in windows:
                _load(table, system, members, members[:1], window, seconds)

        yield turn


@contextmanager
def etcd(table: Table, number: int, windows: Sequence[int]) -> Iterator[Turn]:
    """etcd, asked at its leader and at a follower."""
    with (
        etcd_cluster(number) as members,
        EtcdClient(members[0].port) as leader,
        EtcdClient(members[-1].port) as follower,
    ):

        def spent_s() -> float:
            return sum(each.cpu_s() for each in members)

        def turn(seconds: float) -> None:
            for name, client in (("its leader", leader), ("a follower", follower)):
                before = spent_s()
                taken = client.latency(seconds, PAYLOAD)
                table.latencies(f"etcd, at {name}", number, taken, spent_s() - before)
            for window in windows:
                before = spent_s()
                count, took = leader.throughput(seconds, PAYLOAD, window)
                spent = spent_s() - before
                table.rate("etcd, at its leader", number, window, count, took, spent)

        yield turn


def _take_turns(
    table: Table, number: int, systems: Sequence[AbstractContextManager[Turn]], count: int
) -> None:
    with ExitStack() as stack:
        turns = [stack.enter_context(system) for system in systems]
        for turn in turns:
            turn(TURN_S)  # Nobody's first decisions count.
        table.forget(number)
        for _ in range(count):
            for turn in turns:
                turn(TURN_S)


def main() -> None:
    """Measure everything that is installed."""
    chosen = options(__doc__)
    windows = WINDOWS[:1] if chosen.quick else WINDOWS
    sizes = (3,) if chosen.quick else (3, 5, 7)
    has_raft = available("pysyncobj", "PySyncObj")
    has_etcd = installed() and not chosen.quick
    table = Table()
    for number in sizes:
        some = windows if number == 3 else windows[:1]
        systems = [quorate(table, number, some, SMOKE_S if chosen.quick else None)]
        if has_raft:
            systems.append(pysyncobj(table, number, some, tuned=True))
        if has_etcd:
            systems.append(etcd(table, number, some))
        try:
            _take_turns(table, number, systems, 1 if chosen.quick else TURNS * chosen.rounds)
        except RuntimeError as error:
            # On a machine that is too busy a member may be taken for dead, and then it is out.
            print(f"groups of {number}: {error}; what came before counts", file=sys.stderr)
    if has_raft and not chosen.quick:
        with pysyncobj(table, 3, WINDOWS[:1], tuned=False) as turn:
            for _ in range(chosen.rounds):
                turn(5 * TURN_S)
    table.print()


if __name__ == "__main__":
    main()
