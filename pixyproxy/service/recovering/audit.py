"""Adds up the ledger: do entries, generations and windows agree, and the stored usage with the generations?"""

from pixyproxy.core.ledger import Imbalance
from pixyproxy.core.money import amount_of
from pixyproxy.core.protocols import Stores
from pixyproxy.core.usage import Sums
from pixyproxy.service.recovering.findings import Finding, Findings

BATCH = 1000


class Audit:
    """Reports the sums that should be equal and are not. With `apply` False nothing is changed."""

    def __init__(self, stores: Stores, *, findings: Findings, apply: bool) -> None:
        self._ledger = stores.ledger
        self._usage = stores.usage
        self._findings = findings
        self._apply = apply

    async def ledger(self) -> None:
        """Compare entries, generations and windows, which are only reported. Raises what the database raises."""
        after: int | None = 0
        while after is not None:
            page = await self._ledger.audit(after=after, limit=BATCH)
            self._report(page.imbalances)
            after = page.next_after
        self._report(await self._ledger.audit_windows())

    async def usage(self) -> None:
        """Compare each stored day with its generations; one that differs is forgotten, and is added up anew.

        Raises what the database raises.
        """
        for day in await self._usage.days():
            unequal = await self._usage.audit(day)
            if unequal is not None:
                if self._apply:
                    await self._usage.forget(day)
                text = f"{day} has {words_of(unequal.stored)}, its records {words_of(unequal.recorded)}:"
                self._findings.add(Finding.USAGE, text, fixed=self._apply)

    def _report(self, imbalances: tuple[Imbalance, ...]) -> None:
        for each in imbalances:
            text = f"{each.name} has ${amount_of(each.has)}, its entries ${amount_of(each.expected)}:"
            self._findings.add(Finding.UNBALANCED, text, fixed=False)


def words_of(sums: Sums) -> str:
    """What identifies sums for a person."""
    return f"{sums.generations} generations, {sums.images} images and ${amount_of(sums.cost)}"
