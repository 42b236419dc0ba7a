"""Callers with the cookie of a session, and the cookie itself.

Over https its name has the prefix `__Host-`, which browsers accept only with `Secure`, for one host and all its paths.
Over plain http browsers disagree about both on localhost. There the name has the port, because cookies do not know
ports: two instances on one machine would log each other out.
"""

from starlette.requests import Request

from pixyproxy.core.exceptions import AuthenticationError
from pixyproxy.core.keys import Caller
from pixyproxy.service.sessions import OpenSession
from pixyproxy.web.auth.same_origin import require_same_origin
from pixyproxy.web.dependencies import requested_url, services_of
from pixyproxy.web.dialects import dialect_of
from pixyproxy.web.http.origins import Origin, parse_origin

SECURE_NAME = "__Host-pixyproxy"
SAFE_METHODS = ("GET", "HEAD")
SCOPE_KEY = "pixyproxy.session"


async def session_caller(request: Request) -> Caller | None:
    """The caller whose session is in the request's cookie; None without the cookie, and where none is accepted.

    `CrossSiteError` if the request may change something and comes from a page of another origin.
    """
    if not dialect_of(request).takes_cookie:
        return None
    tokens = tokens_of(request)
    if not tokens:
        return None
    if len(tokens) != 1:  # somebody else, on another port of this host, has set one too
        raise AuthenticationError
    session = await services_of(request).sessions.authenticate(tokens[0])
    if request.method not in SAFE_METHODS:
        require_same_origin(request)
    request.scope[SCOPE_KEY] = session
    return session.caller


def session_of(request: Request) -> OpenSession | None:
    """The session that the caller of an authenticated request came with; None for an API key."""
    session: OpenSession | None = request.scope.get(SCOPE_KEY)
    return session


def tokens_of(request: Request) -> list[str]:
    """The values of our cookie, as the request has them: one, or none."""
    headers = request.headers.getlist("cookie")
    if not headers:
        return []
    wanted = cookie_name(request)
    pairs = (pair.strip().partition("=") for header in headers for pair in header.split(";"))
    return [value for name, _, value in pairs if name == wanted]


def cookie_name(request: Request) -> str:
    """The name of the cookie at the address that the request used."""
    scheme, _, port = reached_origin(request)
    return SECURE_NAME if scheme == "https" else f"pixyproxy-{port}"


def reached_origin(request: Request) -> Origin:
    """The origin under which the client reached us.

    A proxy may have ended its TLS without saying so: then the public URL says it, for requests to its host.
    """
    requested, public = requested_url(request.scope), services_of(request).public_url or ""
    if public.startswith("https:") and host_of(public) == host_of(requested):
        requested = public
    return parse_origin(requested) or ("http", None, None)


def host_of(url: str) -> str:
    """Host and port, as a URL has them."""
    return url.partition("://")[2].partition("/")[0].lower()


def set_cookie(request: Request, token: str) -> str:
    """The value of Set-Cookie that begins a session. Without Max-Age the cookie ends with the browser."""
    name = cookie_name(request)
    return f"{name}={token}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if name == SECURE_NAME else ''}"


def expire_cookie(request: Request) -> str:
    """The value of Set-Cookie that removes the cookie."""
    return f"{set_cookie(request, '')}; Max-Age=0"
