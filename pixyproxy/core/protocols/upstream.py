"""The upstream, and who takes its partial images."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from pixyproxy.core.generations import Drawing, GenerationRequest, PartialImage
from pixyproxy.core.inputs import InputFile


class PartialSink(Protocol):
    """Takes the partial images of a generation. `wanted`: how many the upstream is asked for."""

    @property
    def wanted(self) -> int:
        """0 to 3."""

    def publish(self, partial: PartialImage) -> None:
        """Take a partial image, at once and without an error."""


class ImageGenerator(Protocol):
    """The upstream."""

    async def draw(
        self,
        request: GenerationRequest,
        *,
        turn: Callable[[], Awaitable[None]],
        inputs: Sequence[InputFile] = (),
        partials: PartialSink | None = None,
    ) -> Drawing:
        """Have the request drawn, or the inputs edited. Exactly one request is sent, whatever fails.

        With `partials` the upstream is asked to stream; an answer that is no stream is accepted too. `n` is then 1: the
        Images API streams only one picture.

        `turn` is awaited when the upstream has begun to answer with success and before its pictures are read. The
        deadline stops meanwhile, and little of the answer is in memory. Partial images are published before that.

        The drawing has as many pictures as the upstream sent, which can be fewer or more than were asked for.

        Raises `UpstreamRefusedError`, `UpstreamUnavailableError` (both: nothing was billed),
        `UpstreamError` or one of its kinds, `UpstreamDeadlineError`.
        """

    async def models(self, *, deadline: float) -> list[str] | None:
        """The names of the upstream's models, which buys nothing; None if it has no such list.

        Raises what `draw` raises if the upstream cannot be reached or refuses the key, and `UpstreamUnavailableError`
        if it does not answer within `deadline` seconds.
        """
