"""The inputs of an edit, drawn into the demo upstream's picture.

The first image is the background, in the landscape's colours. Where a mask says that it is edited, the landscape shows
instead, within a bright outline. Thumbnails of all inputs stand at the top, each in a frame: white for images, magenta
for the mask, yellow for the markup."""

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from pixyproxy.upstream.demo.inputs import Inputs

MASKED, MARKED, PLAIN = "#ff00ff", "#ffe000", "white"
PER_ROW = 8


def combine(landscape: Image.Image, inputs: Inputs) -> Image.Image:
    """The landscape with the inputs in it."""
    size = landscape.size
    first = _on_grey(inputs.images[0])
    background = Image.blend(ImageOps.fit(first, size), landscape, 0.3)
    thumbnails = [(PLAIN, _on_grey(image)) for image in inputs.images]
    if inputs.mask is not None:
        edited = ImageOps.fit(inputs.mask, size).point(lambda value: 255 * (value > 127))
        background.paste(landscape, mask=edited)
        background.paste(MASKED, mask=_outline(edited, width=max(min(size) // 160, 1)))
        thumbnails.append((MASKED, inputs.mask.convert("RGB")))
    if inputs.markup is not None:
        markup = ImageOps.fit(inputs.markup, size)
        background.paste(markup, mask=markup)
        thumbnails.append((MARKED, _on_grey(inputs.markup)))
    _put_up(background, thumbnails)
    return background


def _on_grey(image: Image.Image) -> Image.Image:
    """Without transparency."""
    plain = Image.new("RGB", image.size, "#808080")
    plain.paste(image, mask=image)
    return plain


def _outline(area: Image.Image, *, width: int) -> Image.Image:
    outline = area
    for _ in range(width):
        outline = outline.filter(ImageFilter.MinFilter(3))
    return ImageChops.subtract(area, outline)


def _put_up(picture: Image.Image, thumbnails: list[tuple[str, Image.Image]]) -> None:
    """Thumbnails in rows from the upper left corner."""
    margin = max(picture.width // 48, 1)
    side = min((picture.width - margin) // max(min(len(thumbnails), PER_ROW), 4) - margin, picture.height // 4)
    if side < 4:
        return
    canvas = ImageDraw.Draw(picture)
    frame = max(side // 32, 1)
    for number, (colour, thumbnail) in enumerate(thumbnails):
        row, column = divmod(number, PER_ROW)
        x, y = margin + column * (side + margin), margin + row * (side + margin)
        canvas.rectangle((x, y, x + side - 1, y + side - 1), fill=colour)
        picture.paste(ImageOps.fit(thumbnail, (side - 2 * frame, side - 2 * frame)), (x + frame, y + frame))
