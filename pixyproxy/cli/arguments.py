"""The types of the command line's arguments, and the exit statuses."""

import argparse
import sys
from typing import TYPE_CHECKING

from pixyproxy.storage.keys import OBJECT_KEY

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object

EXIT_FAILURE = 1
EXIT_CONFIGURATION = 2


def program_name() -> str:
    """How this command was called, for commands that we print."""
    return sys.argv[0] if sys.argv[0].endswith("/pixyproxy") else "pixyproxy"


def port(text: str) -> int:
    """A port's number; 0 takes a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def object_key(text: str) -> str:
    """An object's key, as `reconcile` prints it."""
    if not OBJECT_KEY.fullmatch(text):
        raise argparse.ArgumentTypeError("an object's key is {guid}.{png|webp|jpg} or {guid}.{400|800}.webp")
    return text


def seconds(text: str) -> float:
    """A time of 0 to 3600 seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 to 3600")
    return value
