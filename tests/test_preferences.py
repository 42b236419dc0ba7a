"""The `Prefer` header: what is honoured, what is said to be honoured, and what is ignored."""

import pytest
from starlette.requests import Request

from pixyproxy.web.http.preferences import MAX_WAIT, Preferences, preferences_of

NOTHING = Preferences()


def preferred(*values: str) -> Preferences:
    """The preferences of a request with these Prefer headers."""
    headers = [(b"prefer", value.encode("latin-1")) for value in values]
    return preferences_of(Request({"type": "http", "headers": headers}))


HONOURED: dict[str, tuple[tuple[str, ...], float, str]] = {
    "at once": (("respond-async",), 0, "respond-async"),
    "a wait": (("wait=5",), 5, "wait=5"),
    "no wait": (("wait=0",), 0, "wait=0"),
    "the longest wait": ((f"wait={MAX_WAIT}",), MAX_WAIT, f"wait={MAX_WAIT}"),
    "both": (("respond-async, wait=10",), 10, "respond-async, wait=10"),
    "both, the other way round": (("wait=10,respond-async",), 10, "respond-async, wait=10"),
    "in two headers": (("wait=10", "respond-async"), 10, "respond-async, wait=10"),
    "quoted": (('wait="7"',), 7, "wait=7"),
    "in upper case": (("RESPOND-ASYNC, Wait=7",), 7, "respond-async, wait=7"),
    "spaced": (("  wait = 7  ,\trespond-async ",), 7, "respond-async, wait=7"),
    "with parameters": (("respond-async; foo; bar=baz, wait=7 ;x=1",), 7, "respond-async, wait=7"),
    "the first of two": (("wait=1, wait=2",), 1, "wait=1"),
    "the first of two headers": (("wait=1", "wait=2"), 1, "wait=1"),
    "among others": (("return=minimal, handling=lenient, wait=3, foo",), 3, "wait=3"),
    "between empty ones": ((", ,wait=3,,",), 3, "wait=3"),
    "beside a wait that cannot be read": (("respond-async, wait=soon",), 0, "respond-async"),
    "beside a quoted comma": (('foo="a, b", wait=3',), 3, "wait=3"),
    "beside a quoted semicolon": (('foo="a; b", wait=3',), 3, "wait=3"),
}


@pytest.mark.parametrize(("values", "wait", "applied"), HONOURED.values(), ids=HONOURED.keys())
def test_a_preference_is_honoured_and_said_to_be(values: tuple[str, ...], wait: float, applied: str) -> None:
    assert preferred(*values) == Preferences(wait=wait, applied=applied)


IGNORED: dict[str, tuple[str, ...]] = {
    "no header": (),
    "an empty one": ("",),
    "another preference": ("return=representation",),
    "no number": ("wait=soon",),
    "no value": ("wait",),
    "an empty value": ("wait=",),
    "an empty quoted value": ('wait=""',),
    "less than nothing": ("wait=-1",),
    "a fraction": ("wait=1.5",),
    "an exponent": ("wait=1e1",),
    "digits of another script": ("wait=\xb2",),
    "too long": (f"wait={MAX_WAIT + 1}",),
    "far too long": ("wait=" + "9" * 5000,),
    "the second, where the first cannot be read": ("wait=soon, wait=5",),
    "a name that begins so": ("waiting=5, respond-asynchronously",),
    "a parameter of another": ("foo; wait=5; respond-async",),
    "inside a quoted string": ('foo="a, wait=5"',),
    "inside a quoted string with quotes": ('foo="a\\", respond-async, b"',),
}


@pytest.mark.parametrize("values", IGNORED.values(), ids=IGNORED.keys())
def test_what_cannot_be_read_or_honoured_is_ignored(values: tuple[str, ...]) -> None:
    assert preferred(*values) == NOTHING
