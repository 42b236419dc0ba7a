"""The inside of JSON strings, as bytes that arrive in parts."""

import json

MEMBER = b"b64_json"
LONGEST_MEMBER = 6 * len(MEMBER)
"""Bytes of the key when each of its letters is escaped."""
LONGEST_BEGUN_ESCAPE = 5
"""Bytes of an escape without its last byte, such as `\\u002`."""


def is_key(string: bytearray) -> bool:
    """Whether the inside of a JSON string, or its beginning, means the key of a picture."""
    if b"\\" not in string or len(string) > LONGEST_MEMBER:
        return string == MEMBER
    try:
        return unescape(bytes(string)) == MEMBER
    except ValueError:
        return False


def unescape(text: bytes) -> bytes:
    """What the inside of a JSON string means (RFC 8259, section 7); `ValueError` for a wrong escape."""
    if b"\\" not in text:
        return text
    meaning: str = json.loads(f'"{text.decode()}"')
    return meaning.encode()


def trailing_backslashes(text: bytes) -> int:
    """How many backslashes the text ends with."""
    return len(text) - len(text.rstrip(b"\\"))


def without_begun_escape(text: bytes) -> int:
    """The length of the inside of a JSON string, without an incomplete escape at its end."""
    backslash = text.rfind(b"\\", max(len(text) - LONGEST_BEGUN_ESCAPE, 0))
    return len(text) if backslash < 0 or text[backslash + 1 : backslash + 2] not in (b"", b"u") else backslash
