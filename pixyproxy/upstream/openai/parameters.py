"""The parameters of the OpenAI Images API for a request (API reference, «Create image», «Create image edit»)."""

from collections.abc import Sequence
from typing import Any, BinaryIO

from pixyproxy.core.generations import GenerationRequest
from pixyproxy.core.images import SUFFIXES
from pixyproxy.core.inputs import InputFile

Upload = tuple[str, BinaryIO, str]
"""A file as the openai package takes it: its name, its bytes and its type."""


def parameters_of(request: GenerationRequest, *, partials: int | None = None) -> dict[str, Any]:
    """The parameters by name. Parameters that the caller left open are not sent: None would be sent as JSON null.

    `partials`: how many partial images a stream is to have; None: no stream. All but the prompt bypass the parameter
    list of the openai package, which is that of one version: the upstream validates them.
    """
    known = request.model_dump(exclude_none=True, exclude={"inputs", "prompt"})
    streaming = {} if partials is None else {"stream": True, "partial_images": partials}
    return {"prompt": request.prompt, "extra_body": {**known, "n": request.n or 1, **streaming}}


def uploads_of(inputs: Sequence[InputFile]) -> dict[str, Any]:
    """The files of an edit by parameter: `image` is one file or several, the other roles have one."""
    images = [each for each in inputs if each.facts.role == "image"]
    uploads = [upload(each, f"image-{number}") for number, each in enumerate(images, start=1)]
    others: dict[str, Any] = {
        each.facts.role: upload(each, each.facts.role) for each in inputs if each.facts.role != "image"
    }
    return {"image": uploads[0] if len(uploads) == 1 else uploads, **others}


def upload(each: InputFile, name: str) -> Upload:
    """The file under a neutral name: the caller's own may be a path, or reveal something about its user."""
    each.file.seek(0)  # also flushes the buffer, so that the file's size is the length of the upload
    content_type = each.facts.content_type
    return f"{name}.{SUFFIXES[content_type]}", each.file, content_type
