"""The parameters of the lists."""

from pydantic import Field

from pixyproxy.core.generations import GenerationState
from pixyproxy.core.keys import KeyName
from pixyproxy.core.model import Model, SearchText

MAX_LIMIT = 500
DEFAULT_LIMIT = 50


class PageQuery(Model):
    """The parameters of a page of a list."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Entries a page.")
    cursor: str | None = Field(default=None, max_length=200, description="From the `next` of a Link header.")
    caller: KeyName | None = Field(
        default=None, description="Only those of the API key with this name; none if no key has it."
    )


class ImageQuery(PageQuery):
    """The parameters of a page of images."""

    q: SearchText | None = Field(
        default=None,
        description="Only images whose prompt has all of these words, in any order; `word*`: one that begins so; "
        '`"a phrase"`: exactly this, in upper or lower case. A page may then be short or empty and still have a next.',
    )


class GenerationQuery(PageQuery):
    """The parameters of a page of generations."""

    state: GenerationState | None = Field(default=None, description="Only generations in this state.")
