"""Whether a request comes from a page of our own.

A browser may send a cookie along with requests of other pages. It says where they come from: in `Sec-Fetch-Site`, or,
where it does not send that (over plain http to anything but localhost), in the `Origin` of all but GET and HEAD.
"""

from starlette.requests import Request

from pixyproxy.core.exceptions import CrossSiteError
from pixyproxy.web.dependencies import requested_url, services_of
from pixyproxy.web.http.origins import Origin, parse_origin


def require_same_origin(request: Request, *, silent: bool = False) -> None:
    """`CrossSiteError` for a request of a page of another origin. `silent`: a request that says nothing may pass."""
    sites, origins = (request.headers.getlist(name) for name in ("sec-fetch-site", "origin"))
    if sites:
        allowed = sites == ["same-origin"]
    elif origins:
        allowed = len(origins) == 1 and parse_origin(origins[0]) in own_origins(request)
    else:
        allowed = silent
    if not allowed:
        raise CrossSiteError


def own_origins(request: Request) -> set[Origin]:
    """The origins of our own pages: of the URL that the request used, and of the public one."""
    urls = (requested_url(request.scope), services_of(request).public_url or "")
    return {origin for origin in map(parse_origin, urls) if origin is not None and origin[1] is not None}
