"""A decision, shown to somebody who was not there and asks nobody."""

import anyio

from quorate import CertificateError, Node, accept, verify_certificate_untrusted


async def main() -> None:
    """Two members decide; what they sign is checked without them."""
    async with Node.open() as alice, Node.open() as bob:
        group = await alice.found("board")
        await bob.join(group.invite(bob.key))
        bob.on("budget")(lambda proposal: accept({"share": proposal.body["eur"] // 2}))
        decision = await group.propose("budget", {"eur": 500})
        data = await decision.certificate()
        known = group.id

    # From here on there is no network; `quorate verify` does the same with a file.
    shown = verify_certificate_untrusted(data)
    print("this group's:", shown.group == known)
    print(shown.outcome.name, "at", shown.index, "of", len(shown.view.members), "members")
    try:
        verify_certificate_untrusted(data[:-1] + bytes([data[-1] ^ 1]))
    except CertificateError:
        print("one bit of it changed: refused")


if __name__ == "__main__":
    anyio.run(main)
