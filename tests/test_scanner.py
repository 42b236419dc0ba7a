"""The scanner of answers, against what json and base64 of the standard library say of the same bytes."""

import base64
import gc
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixyproxy.core.exceptions import UpstreamAnswerError
from pixyproxy.core.generations import MAX_IMAGES
from pixyproxy.core.images import MAX_PICTURE_BYTES, Picture
from pixyproxy.core.model import MAX_PROMPT
from pixyproxy.upstream.openai.answer import AnswerScanner, storable_usage
from pixyproxy.upstream.openai.scanner import MAX_ANSWER_BYTES, MAX_SKELETON_BYTES, JsonScanner

HALLO = Picture.of(b"hallo")


def scanned(*chunks: bytes) -> tuple[tuple[Picture, ...], Any]:
    """What the scanner makes of a body that arrives in these chunks."""
    scanner = AnswerScanner()
    for chunk in chunks:
        scanner.feed(chunk)
    answer = scanner.finish()
    return answer.pictures, answer.usage


def pieces(body: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """The body in chunks of these sizes, in turn."""
    position = number = 0
    while position < len(body):
        size = sizes[number % len(sizes)]
        yield body[position : position + size]
        position += size
        number += 1


def expected(body: bytes) -> tuple[tuple[Picture, ...], Any]:
    """The same by the standard library alone; `ValueError` for what is to be refused.

    What holds no picture is left out, as long as there is one beside it.
    """
    answer = json.loads(body.decode())
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise ValueError("no ImagesResponse")
    texts = [each.get("b64_json") for each in answer["data"] if isinstance(each, dict)]
    pictures = []
    for text in texts:
        with suppress(ValueError):
            pictures.append(base64.b64decode(text, validate=True) if isinstance(text, str) else None)
    kept = [picture for picture in pictures if picture is not None]
    if not kept:
        raise ValueError("no pictures")
    return tuple(map(Picture.of, kept)), storable_usage(answer.get("usage"))


# Documents


@st.composite
def json_string(draw: st.DrawFn, value: str) -> str:
    """The text as a JSON string, some of its characters escaped in one of the ways that JSON has."""

    def spelled(character: str) -> str:
        code = ord(character)
        plain = json.dumps(character)[1:-1]
        ways = [plain, plain, plain]
        if code < 0x10000:
            ways += [f"\\u{code:04x}", f"\\u{code:04X}"]
        if character == "/":
            ways.append("\\/")
        return draw(st.sampled_from(ways)) if len(value) < 50 else plain

    how = draw(st.sampled_from(["plain", "mixed", "slashes", "all"]))
    if how == "mixed":
        return '"' + "".join(spelled(character) for character in value) + '"'
    if how == "slashes":
        return json.dumps(value).replace("/", "\\/").replace("+", "\\u002B")
    if how == "all":
        return '"' + "".join(f"\\u{ord(each):04x}" if ord(each) < 0x10000 else each for each in value) + '"'
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


SPACE = st.text(" \t\r\n", max_size=3)
ODD_TEXT = st.one_of(
    st.text(max_size=12),
    st.text('\\"/:{}[],b64_json', max_size=20),
    st.sampled_from(["b64_json", 'b64_json":"', '"b64_json":"aGFsbG8="', "\\", '\\"', "data", "\u00e9\U0001f5fc"]),
)
PICTURES = st.one_of(st.binary(max_size=40), st.binary(min_size=200, max_size=2000), st.just(b"\xff\xef\xbe" * 30))


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """A value as JSON; a list of pairs is an object, whose keys may come twice."""
    before, after = draw(SPACE), draw(SPACE)
    if isinstance(value, str):
        text = draw(json_string(value))
    elif isinstance(value, Pairs):
        members = [f"{draw(SPACE)}{draw(json_string(k))}{draw(SPACE)}:{draw(written(v))}" for k, v in value.pairs]
        text = "{" + (",".join(members) or draw(SPACE)) + "}"
    elif isinstance(value, list):
        text = "[" + ",".join(draw(written(each)) for each in value) + "]"
    else:
        text = json.dumps(value)
    return before + text + after


class Pairs:
    """The members of an object in their order."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        self.pairs = pairs

    def __repr__(self) -> str:
        return f"Pairs({self.pairs!r})"


def encoded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), ODD_TEXT)
DECOYS = st.one_of(
    SCALARS,
    st.builds(lambda data: Pairs([("b64_json", encoded(data))]), PICTURES),
    st.builds(lambda text: Pairs([("b64_json", text)]), ODD_TEXT),
    st.builds(lambda each: ["b64_json", each], ODD_TEXT),
    st.builds(lambda key, value: Pairs([(key, value)]), ODD_TEXT, SCALARS),
)
EXTRA = st.tuples(ODD_TEXT.filter(lambda key: key not in ("data", "usage", "b64_json")), DECOYS)


@st.composite
def images(draw: st.DrawFn) -> Pairs:
    """An element of `data`: its picture, what may stand beside it, and what its last `b64_json` replaces."""
    last = ("b64_json", encoded(draw(PICTURES)))
    first = [("b64_json", draw(DECOYS))] if draw(st.integers(0, 5)) == 0 else []
    extra = draw(st.lists(EXTRA, max_size=2))
    return Pairs([*first, *draw(st.permutations([*extra, last]))])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """An ImagesResponse of at most three pictures, and up to six decoys."""
    data = draw(st.lists(images(), min_size=1, max_size=3))
    members: list[tuple[str, Any]] = [("data", data), *draw(st.lists(EXTRA, max_size=2))]
    if draw(st.booleans()):
        members.append(("usage", Pairs([("total_tokens", 7), ("note", draw(ODD_TEXT))])))
    return draw(written(Pairs(draw(st.permutations(members))))).encode()


SIZES = st.one_of(
    st.just([1]), st.just([10_000]), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.just([1, 64, 2])
)


@given(body=documents(), sizes=SIZES)
def test_an_answer_is_what_json_and_base64_say_of_it_however_it_arrives(body: bytes, sizes: list[int]) -> None:
    assert scanned(*pieces(body, sizes)) == expected(body)


ODD_BYTES = st.sampled_from([b'"', b"\\", b"=", b"\n", b"\xff", b":", b"-", b"u", b"}"])


@given(body=documents(), sizes=SIZES, data=st.data())
def test_a_broken_answer_is_refused_or_it_is_not_broken(body: bytes, sizes: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body) - 1))
    change = data.draw(st.sampled_from(["cut", "drop", "replace", "insert", "swap"]))
    odd = data.draw(
        st.one_of(st.sampled_from([b'"', b"\\", b"=", b"\n", b"\xff", b":", b"-", b"u", b"}"]), st.binary(max_size=3))
    )
    if change == "cut":
        body = body[:at]
    elif change == "drop":
        body = body[:at] + body[at + 1 :]
    elif change == "insert":
        body = body[:at] + odd + body[at:]
    elif change == "replace":
        body = body[:at] + odd + body[at + len(odd) :]
    else:
        body = body[at:] + body[:at]
    try:
        arrived = scanned(*pieces(body, sizes))
    except UpstreamAnswerError:
        return
    assert arrived == expected(body)


# Single cases


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"b64_json"',
        b"<!doctype html><title>Welcome</title>",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": {}}',
        b'{"data": "aGFsbG8="}',
        b'{"data": ["aGFsbG8="]}',
        b'{"data": [{}]}',
        b'{"data": [{"url": "http://127.0.0.1/"}]}',
        b'{"data": [{"b64_json": null}]}',
        b'{"data": [{"b64_json": 7}]}',
        b'{"data": [{"b64_json": ["aGFsbG8="]}]}',
        b'{"data": [{"b64_json": {"b64_json": "aGFsbG8="}}]}',
        b'{"data": [{"b64_json": "%%%"}]}',
        b'{"data": [{"b64_json": "iVBORw0KGg"}]}',
        b'{"data": [{"b64_json": "aGFsbG8=aGFsbG8="}]}',
        b'{"data": [{"b64_json": "aGFs=bG8"}]}',
        b'{"data": [{"b64_json": "aGFsbG8=="}]}',
        b'{"data": [{"b64_json": "="}]}',
        b'{"data": [{"b64_json": "a-_sbG8="}]}',
        b'{"data": [{"b64_json": "aGFs----bG8="}]}',
        b'{"data": [{"b64_json": "aGFs    bG8="}]}',
        b'{"data": [{"b64_json": "aGFs\\nbG8="}]}',
        b'{"data": [{"b64_json": "aGFs\nbG8="}]}',
        b'{"data": [{"b64_json": " aGFsbG8="}]}',
        b'{"data": [{"b64_json": "aGFsbG8=\\""}]}',
        b'{"data": [{"b64_json": "aGFs\\\\/bG8="}]}',
        b'{"data": [{"b64_json": "aGFs\\u00"}]}',
        b'{"data": [{"b64_json": "aGFsbG8="}]',
        b'{"data": [{"b64_json": "aGFsbG8="}]} {}',
        b'{"data": [{"b64_json": "aGFsbG8',
        b'{"data": [{"b64_json", "aGFsbG8="}]}',
        b'{"b64_json": "aGFsbG8="}',
        b'{"data": [], "more": [{"b64_json": "aGFsbG8="}]}',
        b'\xff\xfe{"data": []}',
        '{"data": [{"b64_json": "aGFsbG8="}]}'.encode("utf-16"),
        b'\xef\xbb\xbf{"data": [{"b64_json": "aGFsbG8="}]}',
    ],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_nonsense_is_no_picture(body: bytes, size: int) -> None:
    with pytest.raises(UpstreamAnswerError):
        scanned(*pieces(body, [size]))


@pytest.mark.parametrize(
    "body",
    [
        rb'{"data":[{"b64_json":"aGFsbG8="}]}',
        b'{"data" : [\r\n\t{ "b64_json" \n:\t "aGFsbG8=" } ] }',
        rb'{"data": [{"b64_json": "\u0061GFsbG8\u003D"}]}',
        rb'{"data": [{"\u0062\u0036\u0034\u005f\u006a\u0073\u006f\u006E": "aGFsbG8="}]}',
        rb'{"data": [{"b64_json": "b2xk", "b64_json": "aGFsbG8="}]}',
        rb'{"data": [{"b64_json": "%%%", "b64_json": "aGFsbG8="}]}',
        rb'{"data": [{"b64_json": 7, "b64_json": "aGFsbG8="}]}',
        rb'{"data": [{"b64_json": "b2xk"}], "data": [{"b64_json": "aGFsbG8="}]}',
        rb'{"data": [{"revised_prompt": "\"b64_json\": \"b2xk\"", "b64_json": "aGFsbG8="}]}',
        rb'{"data": [{"a\\": "\\", "b64_json": "aGFsbG8="}], "x": [{"b64_json": "b2xk"}, {"b64_json": "\"\n%"}]}',
        rb'{"x": {"data": [{"b64_json": "b2xk"}]}, "data": [{"b64_json": "aGFsbG8="}]}',
        rb'{"x": ["b64_json", "b2xk"], "y": "b64_json", "data": [{"b64_json": "aGFsbG8="}]}',
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 10_000])
def test_the_picture_is_found_however_it_is_written(body: bytes, size: int) -> None:
    assert scanned(*pieces(body, [size])) == ((HALLO,), None)


@pytest.mark.parametrize("escaped", [("/", r"\/"), ("+", r"\u002B"), ("/", r"\u002f")])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 10_000])
def test_the_escapes_of_php_and_dotnet_are_understood_wherever_a_chunk_ends(
    escaped: tuple[str, str], size: int
) -> None:
    picture = b"\xff\xef\xbe\xfb" * 50
    text = encoded(picture)
    assert escaped[0] in text
    body = '{"data": [{"b64_json": "' + text.replace(*escaped) + '"}]}'
    assert scanned(*pieces(body.encode(), [size])) == ((Picture.of(picture),), None)


def test_pictures_come_in_the_order_of_data_with_their_hashes() -> None:
    first, second = bytes(range(256)) * 9, b"\0"
    body = json.dumps({"data": [{"b64_json": encoded(first)}, {"b64_json": encoded(second)}], "usage": {"n": 2}})
    assert scanned(*pieces(body.encode(), [100])) == ((Picture.of(first), Picture.of(second)), {"n": 2})


def test_a_placeholder_cannot_be_forged() -> None:
    secrets = set()
    for _ in range(3):
        scanner = JsonScanner()
        scanner.feed(b'{"data": [{"b64_json": "aGFsbG8="}]}')
        secrets.add(re.findall(rb'"([0-9a-f]{32}):1"', bytes(scanner._skeleton))[0])
    assert len(secrets) == 3
    with pytest.raises(UpstreamAnswerError):
        scanned(b'{"x": {"b64_json": "aGFsbG8="}, "data": [{"b64_json": "%s:1"}]}' % secrets.pop())


def test_an_odd_usage_loses_no_picture() -> None:
    for usage in (b'{"x": NaN}', b"[]", b'"n/a"', b"7", b"[" * 40 + b"]" * 40):
        pictures, _ = scanned(b'{"data": [{"b64_json": "aGFsbG8="}], "usage": ' + usage + b"}")
        assert pictures == (HALLO,)


# Bounds


def endless(*beginning: bytes, again: bytes) -> Iterator[bytes]:
    """The beginning, and then the same without end."""
    yield from beginning
    while True:
        yield again


def fed_until_refused(chunks: Iterator[bytes], *, images: int = 1) -> int:
    """How many bytes the scanner took before it refused."""
    scanner, taken = AnswerScanner(images=images), 0
    with pytest.raises(UpstreamAnswerError):
        for chunk in chunks:
            taken += len(chunk)
            scanner.feed(chunk)
    return taken


MIB = 1024 * 1024


def test_a_picture_without_end_is_refused_as_soon_as_it_is_too_large() -> None:
    taken = fed_until_refused(endless(b'{"data": [{"b64_json": "', again=b"A" * MIB))
    assert taken * 3 / 4 == pytest.approx(MAX_PICTURE_BYTES, abs=MIB)


def test_an_answer_that_is_no_picture_is_refused_as_soon_as_it_is_too_large() -> None:
    for beginning in (b'{"data": "', b"", b'{"data": [{"b64_json": "%', b'{"' + b"\\" * 9):
        taken = fed_until_refused(endless(beginning, again=b"x" * 4096))
        assert taken == pytest.approx(MAX_SKELETON_BYTES, abs=8192)


@pytest.mark.parametrize("images", [1, 3])
def test_many_pictures_together_are_bounded_by_how_many_were_asked_for(images: int) -> None:
    picture = b'{"b64_json": "' + b"A" * 48 * MIB + b'"},'
    taken = fed_until_refused(endless(b'{"data": [', again=picture), images=images)
    assert images * MAX_ANSWER_BYTES < taken < images * MAX_ANSWER_BYTES + len(picture)


# How many


def test_as_many_pictures_are_kept_as_came_however_many_were_asked_for() -> None:
    item = b'{"b64_json": "aGFsbG8="}'
    for number in range(1, MAX_IMAGES + 1):
        body = b'{"data": [' + b", ".join([item] * number) + b"]}"
        assert scanned(body) == ((HALLO,) * number, None)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_eleventh_picture_loses_none_of_the_ten_before_it(size: int) -> None:
    eleventh = rb'{"b64_json": "b2\u0078k\"\\", "revised_prompt": "no \" more"}'
    body = b'{"data": [' + b'{"b64_json": "aGFsbG8="},' * MAX_IMAGES + eleventh + b'], "usage": {"n": 11}}'
    assert scanned(*pieces(body, [size])) == ((HALLO,) * MAX_IMAGES, {"n": 11})


def test_of_an_eleventh_picture_nothing_is_held() -> None:
    scanner = JsonScanner()
    scanner.feed(b'{"data": [' + b'{"b64_json": "aGFsbG8="},' * MAX_IMAGES + b'{"b64_json": "')
    held = len(scanner._skeleton)
    for _ in range(10):
        scanner.feed(b"A" * MIB)
    assert len(scanner._skeleton) == held
    assert scanner._picture._parts == []


@pytest.mark.parametrize(
    "other", [b'{"url": "http://x/"}', b'{"b64_json": null}', b'{"b64_json": "%%"}', b"null", b"7", b'{"error": {}}']
)
def test_an_element_without_a_picture_loses_none_of_those_beside_it(other: bytes) -> None:
    item = b'{"b64_json": "aGFsbG8=", "revised_prompt": "better"}'
    scanner = AnswerScanner(images=3)
    scanner.feed(b'{"data": [%s, %s, {"b64_json": "aGFsbG8="}]}' % (other, item))
    answer = scanner.finish()
    assert answer.pictures == (HALLO, HALLO)
    assert answer.answer == {"revised_prompt": ["better", None]}


# What else it says


def answered(**members: Any) -> dict[str, Any] | None:
    """What is kept of an answer with these members besides its picture."""
    revised = members.pop("revised_prompt", None)
    scanner = AnswerScanner()
    scanner.feed(json.dumps({"data": [{"b64_json": "aGFsbG8=", "revised_prompt": revised}], **members}).encode())
    return scanner.finish().answer


def test_the_resolved_parameters_are_kept() -> None:
    resolved = {"size": "1024x1536", "quality": "medium", "background": "opaque", "output_format": "png"}
    assert answered(**resolved, created=7, model="m") == resolved
    assert answered(created=7) is None


@pytest.mark.parametrize("odd", [7, None, "", "x" * 65, ["png"], {"a": 1}, "caf\u00e9", "a\nb", "\u0000", "\ud800"])
def test_an_odd_parameter_is_left_out_and_loses_nothing(odd: Any) -> None:
    assert answered(size=odd, quality="low") == {"quality": "low"}


def test_a_revised_prompt_is_kept_as_long_as_a_prompt_may_be() -> None:
    assert answered(revised_prompt="a dot,\nlarger") == {"revised_prompt": ["a dot,\nlarger"]}
    assert answered(revised_prompt="x" * 50_000) == {"revised_prompt": ["x" * MAX_PROMPT]}
    for odd in (None, 7, "", ["a"], "a\u0000b", "\ud800"):
        assert answered(revised_prompt=odd) is None


def test_a_picture_is_held_once_and_no_longer_than_its_scanner() -> None:
    scanner = JsonScanner()
    scanner.feed(b'{"data": [{"b64_json": "aGFsbG8="}]}')
    assert scanner._picture._parts == []
    last_seen = ref(scanner)
    gc.disable()
    try:
        del scanner
        assert last_seen() is None, "megabytes must not wait for the garbage collector"
    finally:
        gc.enable()


def test_of_an_answer_that_arrives_only_its_pictures_are_held() -> None:
    scanner = JsonScanner()
    for chunk in islice(endless(b'{"data": [{"b64_json": "', again=b"A" * MIB), 5):
        scanner.feed(chunk)
    assert len(scanner._skeleton) < 100
    assert sum(map(len, scanner._picture._parts)) == 3 * MIB


# Broken pictures beside good ones


ITEM = b'{"b64_json": "aGFsbG8="}'


def fed(*chunks: bytes, images: int) -> AnswerScanner:
    scanner = AnswerScanner(images=images)
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner


@pytest.mark.parametrize("size", [100_000, 4 * MIB])
def test_a_large_broken_picture_loses_none_of_those_beside_it(size: int) -> None:
    broken = b'{"b64_json": "AAAA%\\"\\\\' + b"A" * 2 * MIB + b'\\"%", "revised_prompt": "broken"}'
    body = b'{"data": [%s, %s, %s], "usage": {"total_tokens": 7}}' % (ITEM, broken, ITEM)
    answer = fed(*pieces(body, [size]), images=3).finish()
    assert (answer.pictures, answer.usage) == ((HALLO, HALLO), {"total_tokens": 7})


def test_a_picture_that_is_too_large_loses_none_of_those_beside_it() -> None:
    large = [b'{"b64_json": "', *[b"A" * 4 * MIB] * 23, b'"}, ']
    answer = fed(b'{"data": [%s, ' % ITEM, *large, ITEM, b"]}", images=3).finish()
    assert answer.pictures == (HALLO, HALLO)


def test_of_a_broken_picture_nothing_is_held_while_others_may_come() -> None:
    scanner = JsonScanner(images=2, maximum=2 * MAX_ANSWER_BYTES)
    for chunk in (b'{"data": [{"b64_json": "', b"A" * MIB, b"%", *[b"A" * 16 * 1024] * 200):
        scanner.feed(chunk)
    assert len(scanner._skeleton) < 100
    assert scanner._picture._parts == []


@pytest.mark.parametrize("images", [2, 3])
def test_an_answer_is_refused_at_once_when_as_many_pictures_are_broken_as_were_asked_for(images: int) -> None:
    picture = b'{"b64_json": "%' + b"A" * MIB + b'"},'
    taken = fed_until_refused(endless(b'{"data": [', again=picture), images=images)
    assert taken <= 10 + images * len(picture)


# An answer that breaks off


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b", ",
        b', {"b64_json": "aGFs',
        b', {"revised_prompt": "a d',
        b', {"b64_json": "%%',
        b'], "usage": {"total_tokens": 7, "inp',
        b'], "usage": {"total_tokens": 7}',
        b"]} <html>",
    ],
)
def test_the_whole_pictures_of_an_answer_that_breaks_off_are_there_without_its_usage(rest: bytes) -> None:
    scanner = fed(b'{"size": "64x64", "data": [%s, %s' % (ITEM, ITEM) + rest, images=3)
    with pytest.raises(UpstreamAnswerError):
        scanner.finish()
    arrived = scanner.arrived()
    assert arrived is not None
    assert (arrived.pictures, arrived.usage, arrived.answer) == ((HALLO, HALLO), None, {"size": "64x64"})


@pytest.mark.parametrize("body", [b"", b'{"data": [{"b64_json": "aGFs', b'{"x": [%s' % ITEM, b"[%s" % ITEM, b"<html>"])
def test_an_answer_that_breaks_off_without_a_whole_picture_has_none(body: bytes) -> None:
    assert fed(body, images=3).arrived() is None
