"""Parses the command line, runs the command, and turns exceptions into exit statuses."""

import argparse
import errno
import logging.config
import os
import sys
from collections.abc import Callable, Sequence

from pixyproxy.bootstrap.app import version
from pixyproxy.cli import (
    budgets,
    check,
    demo_upstream,
    doctor,
    keys,
    login,
    migrate,
    prices,
    reconcile,
    reindex,
    serve,
    usage,
)
from pixyproxy.cli.arguments import EXIT_CONFIGURATION, EXIT_FAILURE
from pixyproxy.core.exceptions import ConfigurationError, DatabaseUnavailableError, PixyProxyException
from pixyproxy.settings import PREFIX, Settings, read_settings
from pixyproxy.web.log.format import log_config

OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
COMMANDS = (serve, migrate, keys, login, prices, budgets, usage, reconcile, check, doctor, reindex, demo_upstream)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. The exit status is 0, 1 for a failure, 2 for a wrong command line or configuration."""
    options = build_parser().parse_args(arguments)
    try:
        settings = read_settings()
        logging.captureWarnings(capture=True)
        logging.config.dictConfig(log_config(form=settings.log_format, level=settings.log_level))
        run: Callable[[Settings, argparse.Namespace], int] = options.run
        return run(settings, options)
    except ConfigurationError as error:
        print(f"pixyproxy: {error.detail}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except DatabaseUnavailableError as error:
        print(f"pixyproxy: {PREFIX}DATABASE_URL: {error.detail}", file=sys.stderr)
        return EXIT_FAILURE
    except PixyProxyException as error:
        print(f"pixyproxy: {error.detail}{describe_cause(error)}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output closed it
        discard_output()
        return EXIT_FAILURE
    except OSError as error:
        print(f"pixyproxy: {describe_os_error(error)}", file=sys.stderr)
        return EXIT_FAILURE


def describe_os_error(error: OSError) -> str:
    """What cannot be opened, or that the output cannot be written. Other errors are raised again."""
    if error.filename is not None:
        return f"{error.filename} cannot be opened ({error.strerror})"
    if error.errno not in OUTPUT_ERRORS:
        raise error
    discard_output()
    return f"output cannot be written ({error.strerror})"


def discard_output() -> None:
    """Replace stdout with the null device: its buffer could not be written at exit either."""
    if sys.stdout is not None:  # it is None if the parent process closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser(
        prog="pixyproxy",
        description="Every image you pay an image model for, kept in your own bucket and database, at a lasting URL.",
        epilog="Everything else is set by environment variables: see docs/configuration.md.",
    )
    root.add_argument("--version", action="version", version=version())
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return root


def describe_cause(error: PixyProxyException) -> str:
    """The type of the exception behind an error, without its message: that may contain a password."""
    return f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
