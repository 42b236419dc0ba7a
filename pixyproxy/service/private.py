"""Private requests: whoever has an API key may have images drawn and see the list."""

from pydantic import Field, TypeAdapter

from pixyproxy.core.models import Caller, GenerationRequest, Image, ImagePage, Model, SearchText
from pixyproxy.core.protocols import ImageRepository
from pixyproxy.service.generations import GenerationService
from pixyproxy.service.validation import revalidated

MAX_LIMIT = 500
DEFAULT_LIMIT = 50


class ImageQuery(Model):
    """What a page of the list is asked with."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Images a page.")
    cursor: str | None = Field(default=None, max_length=200, description="From the `next` of a Link header.")
    q: SearchText | None = Field(
        default=None, description="Only images whose prompt contains this, in upper or lower case."
    )


class PrivateImageService:
    """What callers may do. `model` and `quality` fill in what a request leaves open; an empty quality is not sent."""

    def __init__(
        self, *, images: ImageRepository, generations: GenerationService, model: str, quality: str | None
    ) -> None:
        self._images = images
        self._generations = generations
        self._model = model
        self._quality = quality

    async def create(self, request: GenerationRequest, *, caller: Caller) -> Image:
        """A new image for the request, durable in database and storage; raises what `GenerationService.run` does."""
        request = revalidated(_REQUEST, request)
        model = request.model or self._model
        filled = request.model_copy(update={"model": model, "quality": request.quality or self._quality})
        images = await self._generations.run(filled, model=model, caller=caller)
        return images[0]

    async def list(self, query: ImageQuery) -> ImagePage:
        """A page of all images, newest first; `InvalidRequestError` for a cursor that no page carried."""
        query = revalidated(_QUERY, query)
        return await self._images.search(limit=query.limit, cursor=query.cursor, q=query.q)


_REQUEST: TypeAdapter[GenerationRequest] = TypeAdapter(GenerationRequest)
_QUERY: TypeAdapter[ImageQuery] = TypeAdapter(ImageQuery)
