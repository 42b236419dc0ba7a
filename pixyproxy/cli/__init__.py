"""The command line: one file a command."""

from pixyproxy.cli.main import main

__all__ = ["main"]
