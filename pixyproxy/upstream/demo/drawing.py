"""What the demo upstream draws: a landscape that depends on the prompt, with the prompt and the inputs in it."""

import hashlib
import io
import math
import textwrap

from PIL import Image, ImageDraw, ImageFont

from pixyproxy.upstream.demo.combining import combine
from pixyproxy.upstream.demo.inputs import Inputs

CAPTION = "PixyProxy demo - no model drew this"
MAX_TEXT = 160


def draw_picture(
    prompt: str,
    *,
    width: int,
    height: int,
    output_format: str = "png",
    compression: int = 100,
    transparent: bool = False,
    number: int = 0,
) -> bytes:
    """The encoded picture; the same arguments give the same bytes."""
    picture = paint(prompt, width=width, height=height, transparent=transparent, number=number)
    return encode(picture, output_format=output_format, compression=compression)


def paint(
    prompt: str,
    *,
    width: int,
    height: int,
    transparent: bool = False,
    number: int = 0,
    inputs: Inputs | None = None,
) -> Image.Image:
    """The picture. It shows each input, so that one can see that they arrived."""
    seed = hashlib.sha256(f"{number}:{prompt}".encode()).digest()
    picture = _landscape(seed, width=width, height=height)
    if inputs is not None:
        picture = combine(picture, inputs)
    _write(picture, prompt)
    if transparent:
        mask = Image.new("L", picture.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, width, height), radius=min(width, height) // 6, fill=255)
        picture.putalpha(mask)
    return picture


def blur(picture: Image.Image, *, sharpness: int) -> Image.Image:
    """What a picture looks like before it is finished: 0 is the least sharp."""
    side = 8 * 3**sharpness
    small = picture.resize((min(side, picture.width), min(side, picture.height)), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.BICUBIC)


def encode(picture: Image.Image, *, output_format: str, compression: int) -> bytes:
    """The picture's file."""
    file = io.BytesIO()
    if output_format == "png":
        picture.save(file, "PNG", compress_level=1)
    elif output_format == "webp":
        picture.save(file, "WEBP", quality=compression, method=0)
    else:
        picture.save(file, "JPEG", quality=max(compression, 1))
    return file.getvalue()


def _colour(hue: float, saturation: int, lightness: int) -> str:
    return f"hsl({hue % 360:.0f},{saturation}%,{lightness}%)"


def _landscape(seed: bytes, *, width: int, height: int) -> Image.Image:
    hue = seed[0] / 256 * 360
    sky = Image.linear_gradient("L").resize((width, height))
    top, bottom = Image.new("RGB", (1, 1), _colour(hue, 60, 30)), Image.new("RGB", (1, 1), _colour(hue + 60, 75, 75))
    picture = Image.composite(bottom.resize((width, height)), top.resize((width, height)), sky)
    canvas = ImageDraw.Draw(picture)
    radius = min(width, height) * (0.06 + seed[1] / 256 * 0.08)
    x, y = width * (0.15 + seed[2] / 256 * 0.7), height * (0.15 + seed[3] / 256 * 0.25)
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(hue + 40, 90, 88))
    for layer in range(4):
        base = height * (0.5 + layer * 0.12)
        swing, phase = height * 0.08, seed[4 + layer] / 256 * math.tau
        waves = 1.5 + seed[8 + layer] / 256 * 2
        ridge = [
            (step / 64 * width, base + swing * math.sin(phase + step / 64 * waves * math.tau) * math.cos(step / 23))
            for step in range(65)
        ]
        canvas.polygon([(0, height), *ridge, (width, height)], fill=_colour(hue + 150 + layer * 12, 45, 42 - layer * 9))
    return picture


def _write(picture: Image.Image, prompt: str) -> None:
    width, height = picture.size
    canvas = ImageDraw.Draw(picture)
    size = max(width // 28, 8)
    font, small = ImageFont.load_default(size), ImageFont.load_default(max(size * 0.6, 7))
    plain = " ".join(prompt[: MAX_TEXT * 4].split())
    lines = textwrap.wrap(textwrap.shorten(plain, MAX_TEXT, placeholder=" ...") or plain[:40], width=40)
    margin = width // 24
    for number, line in enumerate(lines):
        position = (margin, height - margin - size * 1.3 * (len(lines) - number + 1))
        canvas.text(position, line, font=font, fill="white", stroke_width=max(size // 16, 1), stroke_fill="black")
    canvas.text((margin, height - margin - size * 0.8), CAPTION, font=small, fill="white")
