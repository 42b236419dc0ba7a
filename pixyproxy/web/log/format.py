"""The form of a log line, as text or as JSON, and what may be in one.

A record is one line. Messages of foreign exceptions are left out, because they may quote their input (a prompt, a key,
a URL with a password): the line has the exception's type, its numbers and its place in the code.
"""

import json
import logging
import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.web.log.request_ids import this_thread
from pixyproxy.web.log.request_log import current
from pixyproxy.web.log.writing import TurnHandler

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
FRAMES = 12


def one_line(text: str) -> str:
    """The text with its control characters escaped."""
    if text.isprintable():
        return text
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def module_of(record: logging.LogRecord) -> str:
    """The module that logs, as seen from our package."""
    return record.name.removeprefix("pixyproxy.")


@lru_cache(maxsize=2)
def second(seconds: int) -> str:
    """A second in UTC; a second has many lines."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def describe(error: BaseException | None) -> str:
    """An exception and its causes, without the messages of foreign ones."""
    parts: list[str] = []
    while error is not None and len(parts) < 8:
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        numbers = [str(argument) for argument in error.args if isinstance(argument, int)]
        said = f": {error}" if isinstance(error, PixyProxyException) else "".join(f" {number}" for number in numbers)
        parts.append(f"{kind}{said} at {place(error.__traceback__)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return " <- ".join(parts)


def place(traceback: TracebackType | None) -> str:
    """The innermost frames of a traceback, as file:line, the innermost first."""
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{Path(code.co_filename).name}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return " < ".join(reversed(frames[-FRAMES:])) or "-"


class TextFormatter(logging.Formatter):
    """`YYYY-MM-DD HH:MM:SS,mmm LEVEL request-id [thread-id] [module:line] message`, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        request = current.get()
        request_id = request.request_id if request else "-"
        message = record.getMessage()
        if record.exc_info:
            message += f" | {describe(record.exc_info[1])}"
        return one_line(
            f"{second(int(record.created))},{int(record.msecs):03d} {record.levelname} {request_id} "
            f"[{this_thread.id}] [{module_of(record)}:{record.lineno}] {message}"
        )


class JsonFormatter(logging.Formatter):
    """The same facts as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        request = current.get()
        facts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "request_id": request.request_id if request else None,
            "thread": this_thread.id,
            "module": module_of(record),
            "line": record.lineno,
            "message": one_line(record.getMessage()),
        }
        facts |= getattr(record, "facts", dict)()
        if record.exc_info:
            facts["exception"] = describe(record.exc_info[1])
        return json.dumps(facts)


class OwnOrWarning(logging.Filter):
    """Passes our own records, and warnings of libraries, whatever level a library sets itself (OPENAI_LOG)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        return record.levelno >= logging.WARNING or record.name.startswith(("pixyproxy", "uvicorn"))


FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}


def log_config(*, form: Literal["text", "json"], level: str) -> dict[str, Any]:
    """The logging of a process, for `logging.config.dictConfig`.

    `level` is for our own modules: below WARNING the libraries log what must not be logged (prompts, headers).
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": FORMATTERS[form]}},
        "filters": {"own": {"()": OwnOrWarning}},
        "handlers": {"stderr": {"()": TurnHandler, "formatter": "line", "filters": ["own"]}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "pixyproxy": {"level": level},
            "uvicorn": {"level": level},
            "uvicorn.access": {"level": "CRITICAL"},
            # It warns of connections that it closes after use: more are open at once than it keeps, on purpose.
            "urllib3.connectionpool": {"level": "ERROR"},
        },
    }
