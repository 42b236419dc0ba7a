"""Models and answers in OpenAI's shape."""

from typing import Literal, Self

from pydantic import BaseModel, Field

from pixyproxy.core.exceptions import ModelNotFoundError
from pixyproxy.service.models import ModelCatalogue
from pixyproxy.web.costs import COST, CostDetails


class ModelDetails(BaseModel):
    """A model, or an alias."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(default=0, description="Not known.")
    owned_by: Literal["pixyproxy", "pixyproxy-alias"]
    pixyproxy: dict[str, str] | None = Field(default=None, description="`model`: what an alias stands for.")

    @classmethod
    def of(cls, models: ModelCatalogue, name: str) -> Self:
        """The details of a model; `ModelNotFoundError`."""
        if name in models.aliases:
            return cls(id=name, owned_by="pixyproxy-alias", pixyproxy={"model": models.aliases[name]})
        if name not in models.names:
            raise ModelNotFoundError(name)
        return cls(id=name, owned_by="pixyproxy")


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelDetails]

    @classmethod
    def of(cls, models: ModelCatalogue) -> Self:
        """The models, and then the aliases."""
        return cls(data=[ModelDetails.of(models, name) for name in (*models.names, *models.aliases)])


class OwnFacts(BaseModel):
    """The member that OpenAI's API does not have."""

    guid: str
    url: str = Field(description="Where the picture is; it does not expire.")
    model: str = Field(description="Which model drew it.")
    generation: str = Field(description="The guid of its generation.")
    thumbnail_url: str = Field(description="Where a small copy of it is.")
    cost: CostDetails | None = Field(description=COST)


class AnsweredImage(BaseModel):
    """An image; it has one of `url` and `b64_json`."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None
    pixyproxy: OwnFacts


class TokenDetails(BaseModel):
    """Tokens by their kind."""

    text_tokens: int
    image_tokens: int


class Usage(BaseModel):
    """The tokens that the upstream counted; a missing figure is 0."""

    input_tokens: int
    input_tokens_details: TokenDetails
    output_tokens: int
    output_tokens_details: TokenDetails
    total_tokens: int


class ImagesAnswer(BaseModel):
    """The images of a generation, with the values that the upstream chose."""

    created: int
    background: str | None = None
    output_format: Literal["png", "webp", "jpeg"]
    quality: str | None = None
    size: str
    data: list[AnsweredImage]
    usage: Usage
