"""A `pixyproxy` command in a forked process: what the installed script does, without a second of imports each time."""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pixyproxy.cli", "pixyproxy.upstream.openai.generator", "tests.crashing"])


def enter(environment: Mapping[str, str], *, folder: Path, stdout: Path, stderr: Path) -> None:
    """Make the forked process what a new one would be: its environment, its folder, its output."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for file, descriptor in ((stdout, 1), (stderr, 2)):
        with file.open("ab") as opened:
            os.dup2(opened.fileno(), descriptor)
    if environment.get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")


def run(
    script: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdout: Path, stderr: Path
) -> None:
    """Run the command to its end, in a process made for it."""
    enter(environment, folder=folder, stdout=stdout, stderr=stderr)
    sys.argv = [script, *arguments]
    from pixyproxy.cli import main

    sys.exit(main())
