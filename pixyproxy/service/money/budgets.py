"""Budgets by the names of keys: set, removed, and what is left of them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pixyproxy.core.budgets import EVERYBODY, Budget, Period, Spending
from pixyproxy.core.exceptions import NotFoundError
from pixyproxy.core.keys import CONFIGURED_CALLER, ApiKey, Caller, Scope
from pixyproxy.core.money import Nano
from pixyproxy.core.protocols import ApiKeyRepository, BudgetRepository
from pixyproxy.service.keys import ALL_KEYS
from pixyproxy.service.rights import require


@dataclass(frozen=True)
class NamedSpending:
    """What an owner may spend, and has spent. `owner`: the name of a key, or `ALL_KEYS`."""

    owner: str
    spending: Spending


class BudgetService:
    """Sets and shows budgets."""

    def __init__(
        self,
        budgets: BudgetRepository,
        keys: ApiKeyRepository,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._budgets = budgets
        self._keys = keys
        self._clock = clock

    async def set(self, owner: str, *, limit: Nano, period: Period) -> None:
        """Give an owner a budget; `NotFoundError` for a name that no key has. What was spent before counts in it."""
        await self._budgets.set(Budget(owner=await self._id_of(owner), period=period, limit=limit))

    async def remove(self, owner: str, *, period: Period) -> None:
        """Take an owner's budget away; `NotFoundError` if there is none."""
        if not await self._budgets.remove(owner=await self._id_of(owner), period=period):
            raise NotFoundError(f"{owner} has no budget of this period: {period.word}.")

    async def of_everybody(self, *, caller: Caller) -> Sequence[Spending]:
        """What all keys together may spend, and have spent; `NotAllowedError` for a caller without `admin`."""
        require(caller, Scope.ADMIN)
        return await self._budgets.spending([EVERYBODY], at=self._clock())

    async def set_for_everybody(self, period: Period, *, limit: Nano, caller: Caller) -> Spending:
        """Give all keys together a budget, which is returned; `NotAllowedError` for a caller without `admin`."""
        require(caller, Scope.ADMIN)
        await self.set(ALL_KEYS, limit=limit, period=period)
        for each in await self.of_everybody(caller=caller):
            if each.budget.period is period:
                return each
        raise NotFoundError("The budget was set, and removed by somebody else at the same moment.")

    async def remove_for_everybody(self, period: Period, *, caller: Caller) -> None:
        """Take a budget of all keys away; `NotFoundError` if there is none, `NotAllowedError` as above."""
        require(caller, Scope.ADMIN)
        await self.remove(ALL_KEYS, period=period)

    async def list(self) -> Sequence[NamedSpending]:
        """All budgets and what they have: that of everybody first, then by the age of the keys."""
        names = {EVERYBODY: ALL_KEYS, CONFIGURED_CALLER.api_key_id: CONFIGURED_CALLER.name}
        names |= {key.id: key.name for key in await self._keys.list()}
        found = await self._budgets.spending(names, at=self._clock())
        order = list(names)
        return [
            NamedSpending(names[each.budget.owner], each)
            for each in sorted(found, key=lambda each: (order.index(each.budget.owner), each.budget.period))
        ]

    async def of_keys(self, keys: Iterable[ApiKey]) -> Mapping[int, Sequence[Spending]]:
        """The budgets of these keys, by their ids."""
        found = defaultdict[int, list[Spending]](list)
        for each in await self._budgets.spending([key.id for key in keys], at=self._clock()):
            found[each.budget.owner].append(each)
        return found

    async def _id_of(self, owner: str) -> int:
        if owner == ALL_KEYS:
            return EVERYBODY
        if owner == CONFIGURED_CALLER.name:
            return CONFIGURED_CALLER.api_key_id
        return (await self._keys.find(name=owner)).id
