"""Three peers found a group, decide on a budget, and see one veto it."""

import anyio

from quorate import Accept, Node, Proposal, Reject, accept, reject


def judge(proposal: Proposal) -> Accept | Reject:
    """Every member's opinion of a budget."""
    if proposal.body["eur"] > 1000:
        return reject("too much")
    return accept({"share": proposal.body["eur"] / 3})


async def main() -> None:
    """All three in one process; in earnest each is a program of its own."""
    async with Node.open() as alice, Node.open() as bob, Node.open() as carol:
        for node in (alice, bob, carol):
            node.on("budget")(judge)
        board = await alice.found("board")
        await bob.join(board.invite(bob.key))  # for Bob's key only
        group = await carol.join(board.invite())  # for whoever holds the text

        decision = await board.propose("budget", {"eur": 500})
        print(decision.outcome.name, "at", decision.index, decision.answers[bob.key])

        decision = await group.propose("budget", {"eur": 5000})
        print(decision.outcome.name, "at", decision.index, sorted(set(decision.reasons.values())))


if __name__ == "__main__":
    anyio.run(main)
