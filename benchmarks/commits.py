"""Earlier commits of PixyProxy as servers: their own package, with the libraries of this environment."""

import io
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import ROOT
from benchmarks.store import QUIET
from tests import planted
from tests.servers import PixyProxy, clean_environment

MODEL = "gpt-image-1"
BUDGETS = tuple(
    f"budgets set {budget}"
    for budget in ("everybody 1000000/day", "everybody 1000000/month", "PIXYPROXY_API_KEY 1000000/month")
)
PRICE = "--text-in 5 --image-in 10 --cached-text-in 1.25 --cached-image-in 2.5 --image-out 40 --reserve 0.17"
COMMANDS = """
import sys
import pixyproxy
from pixyproxy.cli.main import build_parser, main
print(pixyproxy.__file__, flush=True)
known = build_parser().format_help()
for line in sys.argv[1:]:
    command, *options = line.split()
    if command in known and main([command, *options]):
        sys.exit(line)
"""
"""A program that runs commands in one process: starting it is most of a command's time."""


def known_commit(name: str) -> str | None:
    """The full name of a commit; None if this clone does not have it."""
    ran = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout.strip() or None


def check_out(commit: str, folder: Path) -> None:
    """Write the package of a commit into a new folder. The working tree is not touched."""
    archive = subprocess.run(["git", "archive", commit, "pixyproxy"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")


@dataclass(frozen=True)
class Version:
    """A PixyProxy, by the folder that has its package: that of a commit, or the working tree."""

    package: Path

    def serve(self, folder: Path, *, database: str | None, upstream: str) -> PixyProxy:
        """A server over an empty database (None: SQLite) and a folder, which draws from the upstream's port.

        The upstream has a price, and everybody and the key have budgets, if the commit knows such things.
        """
        environment = {
            **QUIET,
            "PIXYPROXY_DATA_DIR": str(folder / "data"),
            "PIXYPROXY_API_KEY": planted.API_KEY,
            "OPENAI_API_KEY": planted.UPSTREAM_KEY,
            "OPENAI_BASE_URL": f"http://{upstream}/v1",
            "PYTHONPATH": str(self.package),
        }
        if database is not None:
            environment |= {
                "PIXYPROXY_DATABASE_URL": database,
                "PIXYPROXY_STORAGE_URL": f"file:{folder / 'images'}",
            }
        (folder / "images").mkdir(parents=True)
        self.prepare(folder, environment, ["migrate", f"prices set {MODEL} --upstream {upstream} {PRICE}", *BUDGETS])
        return PixyProxy(folder / "server", environment, installed=True).start()

    def prepare(self, folder: Path, environment: Mapping[str, str], commands: Sequence[str]) -> None:
        """Run commands; those that the version does not have are left out.

        `RuntimeError` if one fails, or if a process with this environment runs another package than the version's.
        """
        ran = subprocess.run(
            [sys.executable, "-c", COMMANDS, *commands],
            env=clean_environment(environment),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise RuntimeError(f"{self.package}: {ran.stderr[-1000:]}")
        runs = Path(ran.stdout.splitlines()[0])
        if self.package not in runs.parents:
            raise RuntimeError(f"{runs} runs, and not {self.package}")
