"""The machine of a node that starts: in which life it is, and what it counts leases by."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from consensus.clocks import lease_clocks
from consensus.config import NodeConfig, machine_config
from consensus.core.lives import LIFE_BITS, LIFE_MASK, Generations
from consensus.machine.machine import Machine
from consensus.storage.node_store import GroupRecord
from transport.core.crypto.keys import Identity
from transport.surroundings import current


def new_machine(
    identity: Identity, stored: Sequence[GroupRecord], config: NodeConfig
) -> Machine:
    """A new machine: in a new life, unless durable groups go on in the one that is stored."""
    now, random = anyio.current_time(), current().random
    alive = [row.incarnation & LIFE_MASK for row in stored if row.lives]
    life = alive[0] if alive else int.from_bytes(random(LIFE_BITS // 8), "big")
    clocks = lease_clocks()
    machine = Machine(identity, machine_config(config, now), random, now, life, clocks)
    if alive:
        # Of groups that do not outlive a process nothing says what members this life was in them.
        machine.generations = Generations(1 + int.from_bytes(random(2), "big") * 128)
    return machine
