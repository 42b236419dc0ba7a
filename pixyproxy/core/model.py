"""The base of all models, and the types of text that they share."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from pixyproxy.core import limits

MAX_PROMPT = limits.MAX_PROMPT
"""Characters of a prompt after trimming: the limit of the OpenAI Images API."""


def without_nul(value: str) -> str:
    """Refuse NUL, which no database column takes."""
    if "\x00" in value:
        raise ValueError("must not contain the NUL character")
    return value


# pydantic's own constraints come first: they refuse a lone surrogate, which is not valid text.
Prompt = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT), AfterValidator(without_nul)
]
SearchText = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(without_nul)]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", max_length=64)]
"""A short word that the upstream defines: the name of a model, a size, a quality. OpenAPI shows the pattern, so it must
be one of ECMA-262 too. pydantic's `$` matches at the end only, not before a line break."""

EndUser = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(without_nul)]
"""A name that a caller has for its own user."""


class Model(BaseModel):
    """Frozen; refuses unknown fields; validation errors do not repeat the input (prompts are not logged)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
