"""The sources of POST /image: what it edits."""

from pixyproxy.core.exceptions.costs import nothing_spent
from pixyproxy.core.inputs import InputFiles
from pixyproxy.service.uploads import InputCollector, Recall, Uploads
from pixyproxy.web.images.body import CreateImageBody


async def inputs_of(
    body: CreateImageBody,
    *,
    uploads: Uploads,
    base_url: str,
    recall: Recall | None = None,
    holding: InputCollector | None = None,
) -> InputFiles:
    """The inputs that the body names, for the caller to close; raises what `InputCollector` raises.

    `recall`: see `Uploads.collect`; `holding`: the collector that has the pictures of a large body.
    """
    collector = holding or uploads.collect(base_url=base_url)
    collector.remember(recall)
    try:
        with nothing_spent():
            for number, source in enumerate(body.sources or ()):
                await collector.resolve("image", source, pointer=f"#/sources/{number}")
            if body.mask is not None:
                await collector.resolve("mask", body.mask, pointer="#/mask")
            if body.markup is not None:
                await collector.resolve("markup", body.markup, pointer="#/markup")
            collector.require_resolved()
        return collector.inputs()
    finally:
        collector.close()
