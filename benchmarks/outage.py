"""How long a group decides nothing after SIGKILL of a member.

Three members as processes of their own. One proposes in a loop, each proposal after the outcome of
the one before; another is killed. The outage ends with the next decision at the one that proposes.
Systems take turns, round by round. Of etcd a client at a follower asks, with the default settings.
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from benchmarks.children import Child
from benchmarks.etcd import EtcdClient, etcd_cluster, installed, put_until_gap
from benchmarks.members import GAP_S, PATIENCE_S, PAYLOAD, SMOKE_S, gathered
from benchmarks.raft import raft
from benchmarks.report import available, options, row

WARM_S = 0.5
READ_S = WARM_S + 3.0


def _outage_ms(victim: Child, proposer: Child) -> float:
    """Kill while the other proposes; the milliseconds from then to the end of the gap."""
    proposer.do("propose")
    time.sleep(WARM_S)
    killed = time.monotonic()
    os.kill(victim.process.pid, signal.SIGKILL)
    after: float = proposer.hear()[1]
    return 1e3 * (after - killed)


def quorate(victim: int, proposer: int, suspicion_s: float | None) -> float:
    """An outage in ms; members are counted by seniority from 0."""
    with gathered(3, suspicion_s) as members:
        return _outage_ms(members[victim], members[proposer])


def quorate_reads(victim: int, reader: int, suspicion_s: float | None) -> float:
    """The longest read in ms, from before a kill to well after the dead member is out."""
    with gathered(3, suspicion_s) as members:
        members[reader].do("read", seconds=READ_S)
        time.sleep(WARM_S)
        os.kill(members[victim].process.pid, signal.SIGKILL)
        return 1e3 * float(members[reader].hear())


def pysyncobj() -> float:
    """An outage in ms after SIGKILL of the leader, tuned as `raft` says."""
    with raft(3, tuned=True) as members:
        return _outage_ms(members[0], members[-1])


def etcd() -> float:
    """An outage in ms after SIGKILL of the leader."""
    with (
        etcd_cluster(3) as members,
        EtcdClient(members[-1].port) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        began = Event()
        told = pool.submit(put_until_gap, client, GAP_S, PATIENCE_S, PAYLOAD, began.set)
        began.wait(PATIENCE_S)
        time.sleep(WARM_S)
        killed = time.monotonic()
        os.kill(members[0].process.pid, signal.SIGKILL)
        _, after = told.result()
        return 1e3 * (after - killed)


def main() -> None:
    """Measure what is installed."""
    chosen = options(__doc__)
    silent_s = SMOKE_S if chosen.quick else None
    reads = "longest read around SIGKILL of the senior"
    cases: list[tuple[str, str, Callable[[], float]]] = [
        ("quorate", "after SIGKILL of the junior member", lambda: quorate(2, 1, silent_s)),
        ("quorate", "after SIGKILL of the senior member", lambda: quorate(0, 1, silent_s)),
        ("quorate", reads, lambda: quorate_reads(0, 1, silent_s)),
    ]
    if not chosen.quick:
        if available("pysyncobj", "PySyncObj"):
            cases.append(("PySyncObj tuned", "after SIGKILL of the leader", pysyncobj))
        if installed():
            cases.append(("etcd", "after SIGKILL of the leader", etcd))
    taken: list[list[float]] = [[] for _ in cases]
    for _ in range(chosen.rounds):
        for values, (_, _, measure) in zip(taken, cases, strict=True):
            values.append(measure())
    for values, (system, metric, _) in zip(taken, cases, strict=True):
        row("outage", system, metric, values, "ms", members=3)


if __name__ == "__main__":
    main()
