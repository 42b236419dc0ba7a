"""ThumbHash: a placeholder of at most 25 bytes for a picture (https://evanw.github.io/thumbhash).

The few lowest frequencies of luminance, of yellow against blue, of red against green, and of opacity. The cosine
transform is done along one axis and then the other, so that plain Python needs a millisecond for 32 x 32 pixels.
"""

from collections.abc import Sequence
from math import cos, floor, pi
from operator import mul

NOISE = 1e-9
"""Amplitudes below this are what rounding leaves of an even colour."""


def thumbhash(rgba: bytes, *, width: int, height: int) -> bytes:
    """The hash of a picture of at most 100 pixels a side: four bytes a pixel, colours not multiplied by opacity."""
    opacity = [value / 255 for value in rgba[3::4]]
    visible = sum(opacity)
    has_alpha = visible < width * height
    red, green, blue = (blended(rgba[each::4], opacity, visible) for each in range(3))
    limit, longest = 5 if has_alpha else 7, max(width, height)
    across, down = (max(1, nearest(limit * side / longest)) for side in (width, height))
    luminance = [(r + g + b) / 3 for r, g, b in zip(red, green, blue, strict=True)]
    yellow_blue = [(r + g) / 2 - b for r, g, b in zip(red, green, blue, strict=True)]
    red_green = [r - g for r, g in zip(red, green, strict=True)]
    light = frequencies(luminance, width, height, max(3, across), max(3, down))
    yellow, rose = (frequencies(channel, width, height, 3, 3) for channel in (yellow_blue, red_green))
    clear = [frequencies(opacity, width, height, 5, 5)] if has_alpha else []
    bits = nearest(63 * light[0]) | nearest(31.5 + 31.5 * yellow[0]) << 6 | nearest(31.5 + 31.5 * rose[0]) << 12
    bits |= nearest(31 * amplitude(light)) << 18 | has_alpha << 23
    more = (down if width > height else across) | nearest(63 * amplitude(yellow)) << 3
    more |= nearest(63 * amplitude(rose)) << 9 | (width > height) << 15
    head = bits.to_bytes(3, "little") + more.to_bytes(2, "little")
    for channel in clear:
        head += bytes([nearest(15 * channel[0]) | nearest(15 * amplitude(channel)) << 4])
    factors = [factor for channel in (light, yellow, rose, *clear) for factor in quantized(channel)]
    pairs = zip(factors[::2], [*factors[1::2], 0], strict=False)
    return head + bytes(low | high << 4 for low, high in pairs)


def blended(channel: bytes, opacity: Sequence[float], visible: float) -> list[float]:
    """A colour's values from 0 to 1, where the picture is clear those of its average."""
    values = [value / 255 for value in channel]
    average = sum(map(mul, values, opacity)) / visible if visible else 0.0
    return [average * (1 - alpha) + alpha * value for value, alpha in zip(values, opacity, strict=True)]


def frequencies(channel: Sequence[float], width: int, height: int, columns: int, rows: int) -> list[float]:
    """The amplitudes of the lowest frequencies in both directions, the average first."""
    lines = [channel[start : start + width] for start in range(0, width * height, width)]
    sums = [[sum(map(mul, line, wave)) for line in lines] for wave in waves(width, columns)]
    return [
        sum(map(mul, sums[column], wave)) / (width * height)
        for row, wave in enumerate(waves(height, rows))
        for column in range(columns)
        if column * rows < columns * (rows - row)
    ]


def waves(length: int, count: int) -> list[list[float]]:
    """The cosines of so many frequencies."""
    return [[cos(pi / length * number * (place + 0.5)) for place in range(length)] for number in range(count)]


def amplitude(channel: Sequence[float]) -> float:
    """The largest amplitude behind the average."""
    largest = max(map(abs, channel[1:]))
    return largest if largest > NOISE else 0.0


def quantized(channel: Sequence[float]) -> list[int]:
    """The amplitudes behind the average, in 4 bits each, as parts of the largest."""
    largest = amplitude(channel)
    return [nearest(15 * (0.5 + 0.5 / largest * each)) if largest else 0 for each in channel[1:]]


def nearest(value: float) -> int:
    """The nearest whole number, halves upwards."""
    return floor(value + 0.5)
