"""The outcome of every proposal that is open when a view ends.

A member's promise holds each proposal it has and has not forgotten: see `types.Held`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from consensus.core.numbers import RANK_BITS, RANK_MASK, Index, Key, Rank
from consensus.core.types import Content, Decision, Entry, Outcome, Promise, ProposalId
from consensus.core.view import View

OWN_NOTHING, OWN_ACCEPTED, OWN_NOTED = 0, 1, 2
"""What a promiser did about a proposal; who noted a reject after accepting is OWN_NOTED."""


def compute_trim(
    promises: Mapping[Rank, Promise],
    outcome_of: Callable[[Iterable[int]], Outcome],
) -> tuple[Entry, ...]:
    """The trim from the promises by rank.

    `outcome_of` judges what the promisers did, one value for each of them. What is at or below a
    promiser's stable index has been delivered by everyone, and some have forgotten it: it is left
    out (D1). What a promiser does not hold it has not voted on. Answers and reasons are everything
    any promiser knows, so that those who go on have the same (D2).
    """
    stable = max(promise[0] for promise in promises.values())
    contents: dict[Key, Content] = {}
    own: dict[Key, dict[Rank, int]] = {}
    answers: dict[Key, dict[Rank, bytes]] = {}
    reasons: dict[Key, dict[Rank, str]] = {}
    for rank, promise in sorted(promises.items()):
        for key, index, mine, content, said, why in promise[3]:
            if index and index <= stable:
                continue
            contents.setdefault(key, content)
            own.setdefault(key, {})[rank] = mine
            answers.setdefault(key, {}).update(said)
            for r, reason in why:
                reasons.setdefault(key, {}).setdefault(r, reason)
    trim = []
    for key in sorted(contents):
        outcome = outcome_of([own[key].get(rank, OWN_NOTHING) for rank in sorted(promises)])
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
