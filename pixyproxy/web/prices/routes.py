"""The route of the prices. They are set on the command line."""

from starlette.responses import Response

from pixyproxy.core.exceptions import AuthenticationError, DatabaseUnavailableError, NotAllowedError
from pixyproxy.core.keys import Scope
from pixyproxy.web.auth.authentication import Authenticated
from pixyproxy.web.auth.private_route import needs, private_router
from pixyproxy.web.dependencies import Priced
from pixyproxy.web.prices.details import PriceDetails
from pixyproxy.web.problems import responses_for

router = private_router()


@router.get(
    "/price",
    summary="The list of prices",
    tags=["keys"],
    responses=responses_for(AuthenticationError, NotAllowedError, DatabaseUnavailableError),
    openapi_extra=needs(Scope.ADMIN),
)
async def list_prices(caller: Authenticated, prices: Priced, response: Response) -> list[PriceDetails]:
    """The prices that hold or are to come. Of several for a model the operator's counts, then the most exact name."""
    response.headers["Cache-Control"] = "no-store"
    return [PriceDetails.of(price) for price in await prices.list_for(caller)]
