"""The routes of everybody's budgets: what all keys together may spend. Those of a key are changed with the key."""

from typing import Annotated

from fastapi import Depends, Path
from pydantic import ConfigDict, Field
from starlette.responses import Response

from pixyproxy.core.budgets import Period, limit_of
from pixyproxy.core.exceptions import (
    AuthenticationError,
    CrossSiteError,
    DatabaseUnavailableError,
    NotAllowedError,
    NotFoundError,
)
from pixyproxy.core.keys import Scope
from pixyproxy.core.model import Model
from pixyproxy.web.auth.authentication import Authenticated
from pixyproxy.web.auth.private_route import needs, private_router
from pixyproxy.web.dependencies import Budgeted
from pixyproxy.web.keys.budgets import BudgetDetails, Dollars
from pixyproxy.web.keys.routes import OF_BODIES, keep_nothing
from pixyproxy.web.problems import responses_for

router = private_router()
router.dependencies.append(Depends(keep_nothing))
OF_READING = (AuthenticationError, NotAllowedError, DatabaseUnavailableError)
OF_CHANGING = (*OF_READING, CrossSiteError, NotFoundError)
ADMIN = needs(Scope.ADMIN)
PeriodName = Annotated[
    str,
    Path(
        description="`day`, `month` or `total`. Days and months are UTC.",
        json_schema_extra={"enum": ["day", "month", "total"]},
    ),
]


class BudgetBody(Model):
    """A budget of everybody."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limit": "500"}]})

    limit: Dollars = Field(description="What all keys together may spend in the period: US dollars.")


def period_of(word: str) -> Period:
    """The period of a path; `NotFoundError` for another word, which is not repeated."""
    try:
        return Period.of(word)
    except ValueError as error:
        raise NotFoundError(f"No budget is here: {error}.") from None


@router.get(
    "/budget",
    summary="Everybody's budgets",
    tags=["keys"],
    responses=responses_for(*OF_READING),
    openapi_extra=ADMIN,
)
async def list_budgets(caller: Authenticated, budgets: Budgeted) -> list[BudgetDetails]:
    """What all keys together may spend, and have spent: the day before the month before the total."""
    return [BudgetDetails.of(each) for each in await budgets.of_everybody(caller=caller)]


@router.put(
    "/budget/{period}",
    summary="Set a budget of everybody",
    tags=["keys"],
    responses=responses_for(*OF_CHANGING, *OF_BODIES),
    openapi_extra=ADMIN,
)
async def set_budget(period: PeriodName, body: BudgetBody, caller: Authenticated, budgets: Budgeted) -> BudgetDetails:
    """From now on every replica refuses what goes over it. What was spent before counts, also in a lower limit."""
    found = await budgets.set_for_everybody(period_of(period), limit=limit_of(body.limit), caller=caller)
    return BudgetDetails.of(found)


@router.delete(
    "/budget/{period}",
    status_code=204,
    response_class=Response,
    summary="Remove a budget of everybody",
    tags=["keys"],
    responses=responses_for(*OF_CHANGING),
    openapi_extra=ADMIN,
)
async def remove_budget(period: PeriodName, caller: Authenticated, budgets: Budgeted) -> Response:
    """Nothing limits what all keys together may spend in this period; 404 if nothing did."""
    await budgets.remove_for_everybody(period_of(period), caller=caller)
    return Response(status_code=204, headers={"Cache-Control": "no-store"})
