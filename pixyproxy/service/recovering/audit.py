"""Adds up the ledger: do entries, generations and windows agree?"""

from pixyproxy.core.ledger import Imbalance
from pixyproxy.core.money import amount_of
from pixyproxy.core.protocols import Stores
from pixyproxy.service.recovering.findings import Finding, Findings

BATCH = 1000


class Audit:
    """Reports the sums that should be equal and are not. Nothing is changed."""

    def __init__(self, stores: Stores, *, findings: Findings) -> None:
        self._ledger = stores.ledger
        self._findings = findings

    async def run(self) -> None:
        """Compare everything; raises what the database raises."""
        after: int | None = 0
        while after is not None:
            page = await self._ledger.audit(after=after, limit=BATCH)
            self._report(page.imbalances)
            after = page.next_after
        self._report(await self._ledger.audit_windows())

    def _report(self, imbalances: tuple[Imbalance, ...]) -> None:
        for each in imbalances:
            text = f"{each.name} has ${amount_of(each.has)}, its entries ${amount_of(each.expected)}:"
            self._findings.add(Finding.UNBALANCED, text, fixed=False)
