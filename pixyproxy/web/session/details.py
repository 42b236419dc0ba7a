"""What the page needs to know: who is logged in, and what may be drawn here."""

from datetime import datetime
from typing import Self

from pydantic import AwareDatetime, Field

from pixyproxy.core import limits
from pixyproxy.core.keys import Caller, Scope, in_order
from pixyproxy.core.model import Model
from pixyproxy.web.dependencies import Services

AUTO = "auto"
SIZES = (AUTO, "1024x1024", "1536x1024", "1024x1536")
"""The sizes that the Images API names, without those of retired models. Models may draw others too."""
QUALITIES = (AUTO, "low", "medium", "high")
"""The qualities that every current model knows."""
FORMATS = ("png", "webp", "jpeg")
BACKGROUNDS = (AUTO, "opaque", "transparent")


class SessionDetails(Model):
    """The caller, and what requests may ask for."""

    caller: str = Field(description="The name of the API key.")
    scopes: tuple[Scope, ...] = Field(description="What the key may do now.")
    expires_at: AwareDatetime | None = Field(
        description="When the session ends if it is not used; null for a request with an API key."
    )
    demo: bool = Field(description="Whether the demo upstream draws, which costs nothing.")
    models: tuple[str, ...]
    model: str = Field(description="Of requests that name none.")
    quality: str | None = Field(description="Of requests that name none; null: the upstream's own default.")
    sizes: tuple[str, ...] = SIZES
    qualities: tuple[str, ...] = QUALITIES
    formats: tuple[str, ...] = FORMATS
    backgrounds: tuple[str, ...] = BACKGROUNDS
    max_prompt: int = Field(default=limits.MAX_PROMPT, description="Characters.")
    max_generations: int = Field(description="That run at once in a process.")
    max_sources: int = Field(default=limits.MAX_INPUTS, description="Images that a request edits.")
    partial_images: int = Field(default=limits.MAX_PARTIALS, description="The most that a request may ask for.")
    public_url: str | None = Field(description="The beginning of every image's URL; null: that of the request.")

    @classmethod
    def of(cls, caller: Caller, *, services: Services, expires_at: datetime | None) -> Self:
        """The details for this caller."""
        return cls(
            caller=caller.name,
            scopes=in_order(caller.scopes),
            expires_at=expires_at,
            demo=services.demo,
            models=services.models.names,
            model=services.models.default,
            quality=services.quality,
            max_generations=services.runner.maximum,
            public_url=services.public_url,
        )
