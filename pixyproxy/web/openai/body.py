"""The parameters of a request for images. Unknown ones are refused, and null is the same as absent."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from pixyproxy.core.exceptions import (
    ClientLeftError,
    InvalidRequestError,
    MalformedRequestError,
    UnsupportedMediaTypeError,
)
from pixyproxy.core.generations import MAX_IMAGES, Background, GenerationRequest, Moderation, OutputFormat, Percent
from pixyproxy.core.model import EndUser, Model, Prompt, Token
from pixyproxy.web.problems import RULES

ResponseFormat = Literal["url", "b64_json"]
MAX_PARTIAL_IMAGES = 3
DALL_E_QUALITIES = ("standard", "hd")
"""Qualities of retired models. Clients still send them; no current model accepts them."""
NOT_KEPT = ("frame_count", "frame_duration_ms", "svg")
"""Parameters of GIF and SVG output."""
PICTURES_ONLY = "PixyProxy keeps PNG, WebP and JPEG; it has no GIF or SVG output"
OWN = ("n", "stream", "partial_images", "response_format", "style")
"""Parameters that are not passed on to the upstream unchanged: those of the answer, and those that no model accepts."""


def none_if_empty(value: object) -> object:
    """OpenAI treats an empty name of an end user as absent."""
    return None if value == "" else value


EndUserOrNone = Annotated[EndUser | None, BeforeValidator(none_if_empty)]


class Parameters(Model):
    """The parameters that generations and edits share."""

    prompt: Prompt
    model: Token | None = Field(default=None, description="One of `GET /v1/models`; default `PIXYPROXY_MODEL`.")
    n: Annotated[int, Field(strict=True, ge=1, le=MAX_IMAGES)] | None = Field(default=None, description="Images.")
    size: Token | None = Field(default=None, description="`auto` or `WIDTHxHEIGHT`.")
    quality: Token | None = Field(
        default=None, description="`low`, `medium`, `high`, …; `standard` and `hd` are accepted and not forwarded."
    )
    background: Background | None = None
    output_format: OutputFormat | None = None
    output_compression: Percent | None = None
    moderation: Moderation | None = None
    complexity: Token | None = None
    user: EndUserOrNone = None
    safety_identifier: EndUserOrNone = None
    stream: Annotated[bool, Field(strict=True)] | None = None
    partial_images: Annotated[int, Field(strict=True, ge=0, le=MAX_PARTIAL_IMAGES)] | None = Field(
        default=None, description="Of a stream; without one it changes nothing."
    )
    response_format: ResponseFormat | None = Field(
        default=None, description="`url`: of the stored picture. Default `b64_json`."
    )

    def to_request(self) -> GenerationRequest:
        """What the caller asks for."""
        values = self.model_dump(exclude=set(OWN))
        if self.quality in DALL_E_QUALITIES:
            values["quality"] = None
        return GenerationRequest(**values, n=self.n)


class GenerationBody(Parameters):
    """What to draw."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "a lighthouse at dawn, watercolour"}]})

    style: Literal["vivid", "natural"] | None = Field(default=None, description="Accepted and not forwarded.")


P = TypeVar("P", bound=Parameters)


def validated(kind: type[P], values: dict[str, Any]) -> P:
    """The parameters; `InvalidRequestError` with OpenAI's code for the broken rule."""
    given = {name: value for name, value in values.items() if value is not None}
    for name in NOT_KEPT:
        if name in given and name not in kind.model_fields:
            raise broken(name, PICTURES_ONLY, code="unsupported_parameter")
    if given.get("output_format") in ("gif", "svg"):
        raise broken("output_format", PICTURES_ONLY, code="unsupported_value")
    try:
        parameters = kind.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise InvalidRequestError([broken_rule(each) for each in problems]) from None
    if parameters.stream and (parameters.n or 1) > 1:
        raise broken("n", "a stream has one image", code="invalid_value")
    return parameters


def broken(name: str, detail: str, *, code: str) -> InvalidRequestError:
    """The exception for one broken rule of one parameter."""
    return InvalidRequestError([{"detail": detail, "pointer": f"#/{name}", "code": code}])


CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}


def broken_rule(error: Any) -> dict[str, str]:
    """A broken rule with OpenAI's code, as `errors` of the problem has it."""
    path = "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in error["loc"])
    detail = RULES.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    return {"detail": detail, "pointer": f"#/{path}"[:200], "code": CODES.get(error["type"], "invalid_value")}


async def json_values(request: Request) -> dict[str, Any]:
    """The members of the JSON object that is the body."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError("Send the header 'Content-Type: application/json' with a JSON body.")
    try:
        values = from_json(await request.body(), allow_inf_nan=False)
    except ClientDisconnect:
        raise ClientLeftError from None
    except ValueError:
        raise MalformedRequestError("We could not parse the JSON body of your request.") from None
    if not isinstance(values, dict):
        raise MalformedRequestError("The JSON body must be an object.")
    return values


async def generation_body(request: Request) -> GenerationBody:
    """The dependency that reads the body of a generation."""
    return validated(GenerationBody, await json_values(request))
