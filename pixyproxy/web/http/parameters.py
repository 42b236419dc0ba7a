"""Parameters as OpenAPI describes them, of endpoints that read them from the request themselves."""

from typing import Any


def parameter(name: str, place: str, description: str, **schema: Any) -> dict[str, Any]:
    """A parameter."""
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": {"type": "string", **schema},
    }


TAGS = [
    parameter("If-None-Match", "header", "Entity tags, or `*`: 304 if one of them is the current one (RFC 9110)."),
    parameter("If-Match", "header", "Entity tags, or `*`: 412 if none of them is the current one."),
]
