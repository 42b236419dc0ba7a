"""The inputs of edits: uploads and stored images, checked and spooled before anything is bought."""

import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from io import BytesIO
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from pixyproxy.core import limits
from pixyproxy.core.exceptions import (
    ImageContentLostError,
    ImageNotFoundError,
    ObjectNotFoundError,
    StorageUnavailableError,
)
from pixyproxy.core.images import SUFFIXES, Image
from pixyproxy.core.inputs import Input, InputFile, InputFiles, Role
from pixyproxy.core.protocols import Chunk, ImageRepository, ImageStorage, UploadSpool
from pixyproxy.service.data_urls import decode, pieces_of
from pixyproxy.service.input_files import InputReceiver, invalid, require_size, require_type

MAX_COUNTS: dict[Role, int] = {"image": limits.MAX_INPUTS, "mask": 1, "markup": 1}
ORDER: tuple[Role, ...] = ("image", "mask", "markup")
GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
IMAGE_PATH = re.compile(rf"/image/({GUID})(?:/content|\.([a-z]{{3,4}}))?/?")
"""The public names of an image's details and content."""
SOMEWHERE = "#"
"""The pointer of an input whose role is not known yet."""

Recall = Callable[[], Awaitable[tuple[Input, ...]]]

NOT_FOUND = "names no image that is stored here; it may have been deleted"
NO_IMAGE = "is a URL of this service, but not of an image or its content"
FOREIGN = (
    "must be the guid or URL of an image that is stored here, a data: URL, or in a form of /v1 an upload. "
    "No other URL is fetched"
)
NO_DATA_URL = "must be a data: URL in base64"
NO_PLACE = "has a data: URL where no image belongs"


class Uploads:
    """Makes a collector for each request. `public_url`: the beginning of the URLs of stored images, if it is set."""

    def __init__(
        self, spool: UploadSpool, *, images: ImageRepository, storage: ImageStorage, public_url: str | None = None
    ) -> None:
        self._receiver = InputReceiver(spool)
        self._images = images
        self._storage = storage
        self._public_url = public_url

    def collect(self, *, base_url: str | None = None, recall: Recall | None = None) -> "InputCollector":
        """A collector for one request. `base_url`: with which the client reached this service.

        `recall`: the inputs that are recorded for the request's Idempotency-Key. An image among them may have been
        deleted or lost since, or its bytes cannot be read now: the inputs then have a `refusal`, and serve only to find
        that record.
        """
        own = [urlsplit(url) for url in (self._public_url, base_url) if url is not None]
        return InputCollector(self._receiver, images=self._images, storage=self._storage, base_urls=own, recall=recall)


class InputCollector:
    """Takes the inputs of one request, in any order. Close it, unless `inputs` was called: then the caller closes them.

    The methods raise `InvalidRequestError` and `UnsupportedFileError` with the `pointer` that they are given,
    `UploadsFullError` and `StorageUnavailableError`. Nothing of a refused input is kept.
    """

    def __init__(
        self,
        receiver: InputReceiver,
        *,
        images: ImageRepository,
        storage: ImageStorage,
        base_urls: list[SplitResult],
        recall: Recall | None = None,
    ) -> None:
        self._receiver = receiver
        self._images = images
        self._storage = storage
        self._base_urls = base_urls
        self._recall = recall
        self._refusal: Exception | None = None
        self._files: list[InputFile] = []
        self._held: dict[str, InputFile] = {}

    def remember(self, recall: Recall | None) -> None:
        """Use these recorded inputs: see `Uploads.collect`."""
        self._recall = recall

    async def take(self, role: Role, chunks: AsyncIterable[Chunk], *, pointer: str) -> None:
        """An upload, by its bytes."""
        self._require_place(role, pointer)
        self._files.append(await self._receiver.receive(role, chunks, pointer=pointer))

    async def stored(self, role: Role, guid: UUID, *, pointer: str, suffix: str | None = None) -> None:
        """An image that is stored here; `ImageContentLostError` if its bytes are lost."""
        self._require_place(role, pointer)
        try:
            self._files.append(await self._receive_stored(role, guid, pointer=pointer, suffix=suffix))
        except ImageNotFoundError:
            await self._take_recorded(role, guid, suffix=suffix, refusal=invalid(NOT_FOUND, pointer))
        except (ImageContentLostError, StorageUnavailableError) as error:
            await self._take_recorded(role, guid, suffix=suffix, refusal=error)

    async def data_url(self, role: Role, characters: AsyncIterable[bytes], *, pointer: str) -> None:
        """Take a `data:` URL, as its characters arrive."""
        self._require_place(role, pointer)
        self._files.append(await self._receive_data_url(role, characters, pointer))

    async def hold(self, characters: AsyncIterable[bytes]) -> str:
        """Take a `data:` URL whose role is not known yet. Returns a text by which `resolve` finds it."""
        if len(self._held) + len(self._files) >= sum(MAX_COUNTS.values()):
            raise too_many("image", SOMEWHERE)
        text = f"held:{secrets.token_hex(16)}"
        self._held[text] = await self._receive_data_url("image", characters, SOMEWHERE)
        return text

    async def resolve(self, role: Role, text: str, *, pointer: str) -> None:
        """A guid or a URL of an image that is stored here, or a `data:` URL. No URL is fetched."""
        if text in self._held:
            self._take_held(role, text, pointer)
        elif text[:5].lower() == "data:":
            async with aclosing(pieces_of(text)) as characters:
                await self.data_url(role, characters, pointer=pointer)
        elif re.fullmatch(GUID, text):
            await self.stored(role, UUID(text), pointer=pointer)
        else:
            found = IMAGE_PATH.fullmatch(self._own_path(text, pointer))
            if found is None:
                raise invalid(NO_IMAGE, pointer)
            await self.stored(role, UUID(found[1]), pointer=pointer, suffix=found[2])

    def require_resolved(self) -> None:
        """`InvalidRequestError` if an input is held that was not resolved."""
        if self._held:
            raise invalid(NO_PLACE, SOMEWHERE)

    def has(self, role: Role) -> bool:
        """Whether an input has this role."""
        return any(each.facts.role == role for each in self._files)

    def inputs(self) -> InputFiles:
        """All inputs, the images first. From now on the caller closes them."""
        files, self._files = self._files, []
        ordered = sorted(files, key=lambda each: ORDER.index(each.facts.role))
        return InputFiles(ordered, refusal=self._refusal)

    def close(self) -> None:
        """Free what was taken; safe to call twice."""
        InputFiles((*self._files, *self._held.values())).close()
        self._files, self._held = [], {}

    def _require_place(self, role: Role, pointer: str) -> None:
        if sum(each.facts.role == role for each in self._files) >= MAX_COUNTS[role]:
            raise too_many(role, pointer)

    def _take_held(self, role: Role, text: str, pointer: str) -> None:
        self._require_place(role, pointer)
        facts = self._held[text].facts
        require_size(role, facts.size_bytes, pointer)
        require_type(role, facts.content_type, pointer)
        held = self._held.pop(text)
        self._files.append(replace(held, facts=facts.model_copy(update={"role": role})))

    async def _receive_data_url(self, role: Role, characters: AsyncIterable[bytes], pointer: str) -> InputFile:
        async with aclosing(decode(characters)) as chunks:
            try:
                return await self._receiver.receive(role, chunks, pointer=pointer)
            except ValueError as error:
                raise invalid(NO_DATA_URL, pointer) from error

    async def _receive_stored(self, role: Role, guid: UUID, *, pointer: str, suffix: str | None) -> InputFile:
        image = await self._images.get(guid, fresh=True)  # no money is spent on an image that was deleted
        if suffix not in (None, SUFFIXES[image.content_type]):
            raise invalid(NOT_FOUND, pointer)
        async with aclosing(self._content(image)) as content:
            return await self._receiver.receive(role, content, pointer=pointer, image=image)

    async def _take_recorded(self, role: Role, guid: UUID, *, suffix: str | None, refusal: Exception) -> None:
        """Take the input as it is recorded for the Idempotency-Key, without its bytes; the refusal if it is not."""
        for recorded in () if self._recall is None else await self._recall():
            if (recorded.role, recorded.guid) == (role, guid) and suffix in (None, SUFFIXES[recorded.content_type]):
                self._refusal = refusal
                self._files.append(InputFile(recorded, BytesIO()))
                return
        raise refusal

    async def _content(self, image: Image) -> AsyncGenerator[Chunk, None]:
        try:
            content = await self._storage.open(image.filename)
        except ObjectNotFoundError as error:
            raise ImageContentLostError(f"The storage holds no object for image {image.guid}.") from error
        try:
            async for chunk in content:
                yield chunk
        finally:
            await content.aclose()

    def _own_path(self, text: str, pointer: str) -> str:
        """The path of a URL of this service, below its base; `InvalidRequestError` for everything else."""
        try:
            url = urlsplit(text)
            for base in self._base_urls:
                same = (url.scheme, url.hostname, url.port) == (base.scheme, base.hostname, base.port)
                if same and url.path.startswith(base.path):
                    return url.path.removeprefix(base.path)
        except ValueError:
            pass
        raise invalid(FOREIGN, pointer)


def too_many(role: Role, pointer: str) -> Exception:
    """The error for more inputs than a role may have."""
    most = MAX_COUNTS[role]
    return invalid(f"at most {most} images can be edited at once" if most > 1 else "came twice", pointer)
