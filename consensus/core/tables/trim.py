"""The outcome of every proposal that is open when a view ends.

A member's promise holds each proposal it has and has not forgotten: see `types.Held`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from consensus.core.numbers import NO_INDEX, RANK_BITS, RANK_MASK, Index, Key, Rank
from consensus.core.types import Content, Decision, Entry, Outcome, Promise, ProposalId
from consensus.core.view import View

OWN_NOTHING, OWN_ACCEPTED, OWN_NOTED = 0, 1, 2
"""What a promiser did about a proposal; who noted a reject after accepting is OWN_NOTED."""


def stable_index(promises: Collection[Promise]) -> Index:
    """Up to here everybody has delivered, as far as any promiser knows: the highest stable index
    that does not say of a promiser that it delivered more than it says itself (VE2). Index 0, which
    everybody has delivered, is always one."""
    delivered = min(promise[4] for promise in promises)
    return max((promise[0] for promise in promises if promise[0] <= delivered), default=NO_INDEX)


def agrees(log: Iterable[tuple[Index, Entry]], trim: tuple[Entry, ...], end: Index) -> bool:
    """Whether a trim that ends at index `end` gives the places of what was delivered, by index in
    `log`, the same proposals, contents and outcomes (VE2). Answers and reasons may differ (D2)."""
    first = end - len(trim) + 1
    for index, (key, outcome, content, _, _) in log:
        at = index - first
        if 0 <= at < len(trim) and trim[at][:3] != (key, outcome, content):
            return False
    return True


def compute_trim(
    promises: Mapping[Rank, Promise],
    outcome_of: Callable[[Iterable[int], bool], Outcome],
) -> tuple[Entry, ...]:
    """The trim from the promises by rank.

    `outcome_of` judges what the promisers did, one value for each of them, and whether one has
    delivered it. What is at or below `stable_index` has been delivered by everyone, and some have
    forgotten it: it is left out (D1). What a promiser does not hold it has not voted on. Answers
    and reasons are everything any promiser knows, so that those who go on have the same (D2).
    """
    stable = stable_index(promises.values())
    delivered: set[Key] = set()
    contents: dict[Key, Content] = {}
    own: dict[Key, dict[Rank, int]] = {}
    answers: dict[Key, dict[Rank, bytes]] = {}
    reasons: dict[Key, dict[Rank, str]] = {}
    for rank, promise in sorted(promises.items()):
        for key, index, mine, content, said, why in promise[3]:
            if index and index <= stable:
                continue
            if index:
                delivered.add(key)
            contents.setdefault(key, content)
            own.setdefault(key, {})[rank] = mine
            answers.setdefault(key, {}).update(said)
            for r, reason in why:
                reasons.setdefault(key, {}).setdefault(r, reason)
    trim = []
    for key in sorted(contents):
        did = [own[key].get(rank, OWN_NOTHING) for rank in sorted(promises)]
        outcome = outcome_of(did, key in delivered)
        said = tuple(sorted(answers[key].items())) if outcome == Outcome.COMMITTED else ()
        why = tuple(sorted(reasons.get(key, {}).items())) if outcome == Outcome.REJECTED else ()
        trim.append((key, int(outcome), contents[key], said, why))
    return tuple(trim)


def entry_decision(view: View, index: Index, entry: Entry) -> Decision:
    """An entry as the decision it is in its view, at this index."""
    key, outcome, content, answers, reasons = entry
    members = view.members
    return Decision(
        ProposalId(view.number, key >> RANK_BITS, members[key & RANK_MASK]),
        index,
        content,
        Outcome(outcome),
        tuple((members[r], answer) for r, answer in answers) if answers else (),
        tuple((members[r], reason) for r, reason in reasons) if reasons else (),
    )
