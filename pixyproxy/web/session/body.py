"""The body of POST /session."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from pixyproxy.core import limits
from pixyproxy.core.model import Model

Secret = Annotated[str, StringConstraints(max_length=limits.MAX_LOG_IN)]
"""With a constraint pydantic refuses a lone surrogate, which is no text."""


class LogInBody(Model):
    """A login code, or an API key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "a-code-of-43-characters"}, {"key": "pxp_…"}]})

    code: Secret | None = Field(default=None, description="From the address that `pixyproxy login` prints.")
    key: Secret | None = Field(default=None, description="An API key.")

    @model_validator(mode="after")
    def has_one(self) -> Self:
        """Both would leave open who logs in."""
        if (self.code is None) == (self.key is None):
            raise ValueError("must have either code or key")
        return self
