"""The thumbhash is that of the reference implementation (npm's `thumbhash`), whose hashes tests/data/ holds."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixyproxy.service.thumbnails.thumbhash import thumbhash

VECTORS = json.loads((Path(__file__).parent / "data" / "thumbhash.json").read_text())
"""Made by tests/data/thumbhash.mjs, which says how."""


def random_bytes() -> Iterator[int]:
    seed = 1
    while True:
        seed = (seed * 69069 + 1) % 2**32
        yield seed >> 24


PICTURES: dict[str, Callable[[int, int, Iterator[int]], tuple[int, ...]]] = {
    "noise": lambda x, y, noise: (next(noise), next(noise), next(noise), 255),
    "slope": lambda x, y, _: ((3 * x + 5 * y) % 256, (x * x + 2 * y) % 256, (7 * y + (x >> 1)) % 256, 255),
    "specks": lambda x, y, noise: (next(noise), next(noise), next(noise), next(noise)),
    "fading": lambda x, y, _: (
        (3 * x + 5 * y) % 256,
        (x * x + 2 * y) % 256,
        (7 * y) % 256,
        (11 * x + 17 * y) % 256,
    ),
    "stripes": lambda x, y, _: (250, 240, 20, 255) if y & 4 else (10, 30, 200, 255),
    "hole": lambda x, y, _: (250, 60, 30, 0 if x < y else 255),
    "even": lambda x, y, _: (200, 40, 90, 255),
    "white": lambda x, y, _: (255, 255, 255, 255),
    "black": lambda x, y, _: (0, 0, 0, 255),
    "glass": lambda x, y, _: (10, 200, 90, 128),
    "clear": lambda x, y, _: (9, 9, 9, 0),
}
IRREGULAR = ("noise", "slope", "specks", "fading")


def drawn(name: str, width: int, height: int) -> bytes:
    """The picture of a vector."""
    noise = random_bytes()
    return bytes(value for y in range(height) for x in range(width) for value in PICTURES[name](x, y, noise))


def fields(found: bytes) -> list[tuple[str, int]]:
    """What a hash says. Factors of an even channel say nothing: its amplitude is 0."""
    bits, more = int.from_bytes(found[:3], "little"), int.from_bytes(found[3:5], "little")
    has_alpha, wide = bits >> 23, more >> 15
    amplitudes = [bits >> 18 & 31, more >> 3 & 63, more >> 9 & 63]
    said = [("light", bits & 63), ("yellow", bits >> 6 & 63), ("rose", bits >> 12 & 63), ("has alpha", has_alpha)]
    said += [("side", more & 7), ("wide", wide), *(("amplitude", each) for each in amplitudes)]
    if has_alpha:
        said += [("opacity", found[5] & 15), ("amplitude", found[5] >> 4)]
        amplitudes.append(found[5] >> 4)
    limit = 5 if has_alpha else 7
    sides = (max(3, limit), max(3, more & 7)) if wide else (max(3, more & 7), max(3, limit))
    counts = [triangle(*sides), 5, 5, *([14] if has_alpha else [])]
    nibbles = [nibble for byte in found[6 if has_alpha else 5 :] for nibble in (byte & 15, byte >> 4)]
    assert len(nibbles) - sum(counts) in (0, 1)
    for amplitude, count in zip(amplitudes, counts, strict=True):
        said += [("factor", each if amplitude else 0) for each in nibbles[:count]]
        nibbles = nibbles[count:]
    return said


def triangle(columns: int, rows: int) -> int:
    """How many frequencies a channel has behind its average."""
    return sum(column * rows < columns * (rows - row) for row in range(rows) for column in range(columns)) - 1


@pytest.mark.parametrize(("name", "width", "height", "expected"), VECTORS, ids=lambda value: str(value)[:12])
def test_it_says_what_the_reference_implementation_says(name: str, width: int, height: int, expected: str) -> None:
    ours, theirs = thumbhash(drawn(name, width, height), width=width, height=height), bytes.fromhex(expected)
    assert len(ours) == len(theirs) <= 25
    # Symmetric pictures have factors exactly between two steps, which the order of a sum decides.
    for (what, our), (_, their) in zip(fields(ours), fields(theirs), strict=True):
        assert abs(our - their) <= (what == "factor"), what


def test_of_an_irregular_picture_every_byte_is_the_same() -> None:
    same = {
        (name, width, height): thumbhash(drawn(name, width, height), width=width, height=height).hex() == expected
        for name, width, height, expected in VECTORS
        if name in IRREGULAR and min(width, height) > 5
    }
    assert len(same) == 16
    assert [vector for vector, equal in same.items() if not equal] == []


def test_the_vectors_hold_every_kind_of_picture() -> None:
    assert {name for name, *_ in VECTORS} == set(PICTURES)
    sizes = {(width, height) for _, width, height, _ in VECTORS}
    assert {(1, 1), (100, 100), (32, 21), (18, 32)} <= sizes
