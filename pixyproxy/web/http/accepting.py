"""Which of our answers a client accepts."""

import re

from starlette.requests import Request

REFUSED = re.compile(r"q=0(\.0{0,3})?")


def accepts(request: Request, wanted: str) -> bool:
    """Whether Accept names this media type. A client that accepts any type gets JSON."""
    for part in ",".join(request.headers.getlist("accept")).lower().split(","):
        media_type, *parameters = [piece.strip() for piece in part.split(";")]
        if media_type == wanted and not any(REFUSED.fullmatch(each) for each in parameters):
            return True
    return False
