"""The images that an edit starts from: checked as the OpenAI API checks them, and reduced for drawing."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from PIL import ExifTags, Image, ImageOps

from pixyproxy.upstream.demo.refusals import Refusal, refuse_value

MAX_IMAGES = 16
MAX_IMAGE = 50 * 1024 * 1024
MAX_MASK = 4 * 1024 * 1024
MAX_PIXELS = 80_000_000
TYPES = ("image/jpeg", "image/png", "image/webp")
FIRST, OTHERS = 1536, 384
"""The longest side, in pixels, to which the first and the other images are reduced."""


@dataclass(frozen=True)
class Upload:
    """One file of a request. The API relies on the type that the part names."""

    param: str
    content_type: str
    size: int
    file: BinaryIO

    @classmethod
    def of(cls, param: str, content_type: str, data: bytes) -> "Upload":
        """A file that is in memory."""
        return cls(param, content_type, len(data), io.BytesIO(data))


@dataclass(frozen=True)
class Inputs:
    """The images of one edit."""

    images: tuple[Image.Image, ...]
    """Reduced, rotated upright, RGBA."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each before it was reduced."""
    mask: Image.Image | None = None
    """White where the first image is edited."""
    markup: Image.Image | None = None

    def nearest_size(self) -> tuple[int, int]:
        """The standard size whose shape is nearest to the first image's."""
        width, height = self.sizes[0]
        if width > height * 1.2:
            return 1536, 1024
        return (1024, 1536) if height > width * 1.2 else (1024, 1024)


def read_inputs(images: Sequence[Upload], *, mask: Upload | None = None, markup: Upload | None = None) -> Inputs:
    """The images of an edit, decoded one after the other. Raises Refusal."""
    if not images:
        raise Refusal("Missing required parameter: 'image'.", param="image", code="missing_required_parameter")
    if len(images) > MAX_IMAGES:
        message = (
            f"Invalid 'image': array too long. Expected an array with maximum length {MAX_IMAGES}, "
            f"but got an array with length {len(images)} instead."
        )
        raise Refusal(message, param="image", code="array_above_max_length")
    if mask is not None and markup is not None:
        raise refuse_value("markup", "'markup' cannot be combined with 'mask'.")
    reduced, sizes = [], []
    for number, upload in enumerate(images):
        picture, size = _decode(upload, side=OTHERS if number else FIRST)
        reduced.append(picture)
        sizes.append(size)
    return Inputs(
        images=tuple(reduced),
        sizes=tuple(sizes),
        mask=_overlay(mask, sizes[0], limit=MAX_MASK).getchannel("A").point(lambda alpha: 255 * (alpha == 0))
        if mask
        else None,
        markup=_overlay(markup, sizes[0], limit=MAX_IMAGE) if markup else None,
    )


def _decode(
    upload: Upload, *, side: int, types: tuple[str, ...] = TYPES, limit: int = MAX_IMAGE
) -> tuple[Image.Image, tuple[int, int]]:
    """The image, not longer than `side`, and its size before."""
    if upload.content_type not in types:
        supported = ", ".join(f"'{each}'" for each in types)
        message = (
            f"Invalid file '{upload.param}': unsupported mimetype ('{upload.content_type}'). "
            f"Supported file formats are {supported}."
        )
        raise Refusal(message, param=upload.param, code="unsupported_file_mimetype")
    if not upload.size:
        raise Refusal(f"The file '{upload.param}' is empty.", param=upload.param, code="empty_image_file")
    if upload.size >= limit:
        message = f"The file '{upload.param}' is too large: it must be less than {limit // 1024**2} MB."
        raise Refusal(message, param=upload.param, code="image_file_too_large")
    formats = [each.removeprefix("image/").upper() for each in types]
    try:
        with Image.open(upload.file, formats=formats) as picture:
            if picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5:  # turned by a quarter
                size = picture.height, picture.width
            else:
                size = picture.width, picture.height
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError("too many pixels")
            picture.thumbnail((side, side))
            return ImageOps.exif_transpose(picture).convert("RGBA"), size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = f"Invalid image file or mode for '{upload.param}', please check your image file."
        raise Refusal(message, param=upload.param, code="invalid_image_file") from error


def _overlay(upload: Upload, size: tuple[int, int], *, limit: int) -> Image.Image:
    """A mask or a markup: a PNG with transparency, as large as the first image."""
    picture, own = _decode(upload, side=FIRST, types=("image/png",), limit=limit)
    if own != size:
        message = f"Invalid {upload.param} image format - {upload.param} size does not match image size."
    elif picture.getchannel("A").getextrema()[0] == 255:
        message = f"Invalid {upload.param} image format - {upload.param} image has no transparent pixels."
    else:
        return picture
    code = f"invalid_{upload.param}_image_format"
    raise Refusal(message, param=upload.param, code=code, kind="image_generation_user_error")
