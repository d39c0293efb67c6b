"""A closed circle, an introduction, a letter that waits, and a question without a name."""

import os

import anyio

from quorate import Accept, Letter, Node, NodeConfig, Proposal, accept


async def circle() -> None:
    """Who does not know the secret finds nobody at the address."""
    secret = os.urandom(32)
    members = NodeConfig(circles=(secret,))
    async with (
        Node.open(config=members) as alice,
        Node.open(config=members) as bob,
        Node.open() as stranger,
    ):
        alice.know(bob.key, [bob.address])
        stranger.know(bob.key, [bob.address])
        await alice.connect(bob.key)
        print("in the circle: up")
        try:
            await stranger.connect(bob.key, timeout_s=0.5)
        except TimeoutError:
            print("a stranger: silence")


async def introduction() -> None:
    """Carol knows where both are; they know nothing of each other but the names."""
    async with Node.open() as alice, Node.open() as bob, Node.open() as carol:

        @bob.letters.on("greeting")
        async def greeting(letter: Letter) -> str:
            return f"{letter.body}, and who are you?"

        for node in (alice, bob):
            carol.know(node.key, [node.address])
            node.introductions.allow(carol.key)
        await carol.introductions.introduce(alice.key, bob.key)
        # They compare this by telephone, in case it was not Carol who introduced them.
        same = alice.people.safety_number(bob.key) == bob.people.safety_number(alice.key)
        print("introduced, the same number:", same)
        replied = anyio.Event()

        @alice.letters.replies("greetings")
        async def reply(number: int, letter: Letter) -> None:
            print(f"reply to {number}: {letter.body}")
            replied.set()

        await alice.letters.store(bob.key, "greeting", "Good day", reply="greetings")
        await replied.wait()


async def nameless() -> None:
    """A service that does not ask who wants to know."""
    async with (
        Node.open(config=NodeConfig(serves_nameless=True)) as service,
        Node.open() as somebody,
    ):

        @service.on("time")
        async def time(proposal: Proposal) -> Accept:
            return accept(f"late, {'whoever you are' if proposal.proposer != somebody.key else ''}")

        somebody.know(service.key, [service.address])
        alias = await somebody.connect_nameless(service.key)
        print(await somebody.ask(alias, "time"))


async def main() -> None:
    """One after the other."""
    await circle()
    await introduction()
    await nameless()


if __name__ == "__main__":
    anyio.run(main)
