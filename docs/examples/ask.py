"""One peer asks another: a decision of two."""

import anyio

from quorate import Accept, Node, Proposal, Reject, Rejected, accept, reject

PRICES = {"tea": 3}


async def main() -> None:
    """A shop and a customer."""
    async with Node.open() as shop, Node.open() as customer:

        @shop.on("price")
        async def price(proposal: Proposal) -> Accept | Reject:
            wanted = proposal.body["of"]
            return accept(PRICES[wanted]) if wanted in PRICES else reject(f"no {wanted} here")

        customer.know(shop.key, [shop.address])
        print("tea:", await customer.ask(shop.key, "price", {"of": "tea"}))
        try:
            await customer.ask(shop.key, "price", {"of": "coffee"})
        except Rejected as no:
            print("coffee:", no.reason)


if __name__ == "__main__":
    anyio.run(main)
