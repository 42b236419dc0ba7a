"""What a generation cost, as answers and the request log show it."""

from typing import Literal, Self

from pydantic import BaseModel, Field

from pixyproxy.core.generations import Generation
from pixyproxy.core.money import Basis, Cost, amount_of

COST = (
    "What its generation cost, with all of its images; null: unknown, because the model has no price here, or an older "
    "version ended it."
)


class CostDetails(BaseModel):
    """An amount of money."""

    amount: str = Field(description="In full, as a decimal number.", examples=["0.0531"])
    currency: Literal["USD"] = "USD"
    basis: Basis = Field(
        description="`usage`: reckoned from what the upstream counted; `estimate`: it was billed, or may have been, "
        "and the upstream did not say how much; `none`: nothing was spent."
    )

    @classmethod
    def of(cls, cost: Cost | None) -> Self | None:
        """The details of a cost; None for an unknown one."""
        return None if cost is None else cls(amount=amount_of(cost.nano), basis=cost.basis)


def cost_fact(generation: Generation, *, replayed: bool = False) -> dict[str, str]:
    """What the log says of the money that a request spent; nothing if another request spent it, or it is unknown."""
    return {} if replayed or generation.cost is None else {"cost": amount_of(generation.cost.nano)}
