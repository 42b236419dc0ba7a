"""`python -m tests.lint_page`: checks the page with Prettier, ESLint and TypeScript; `--fix` mends what it can."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = ROOT / "pixyproxy/web/page/files"
SETTINGS = ROOT / "tests/page"
PACKAGES = Path(sys.executable).parent.parent / "page"
"""Where `deploy/install-packages` puts the linters."""


def main(*, fix: bool, packages: Path = PACKAGES) -> int:
    """Check, or mend; the exit status is 1 if something is left to mend.

    Without Node it says so, and fails with CI=true only.
    """
    installer = [str(ROOT / "deploy/install-packages"), str(SETTINGS / "package.json"), str(packages)]
    if subprocess.run(installer, check=False).returncode != 0:
        print("The page's JavaScript, CSS and HTML are not checked: the linters need Node 20.19 or later, with npm.")
        return 1 if os.environ.get("CI") == "true" else 0
    return max([run(*command, folder=FILES).returncode != 0 for command in commands(FILES, fix=fix)])


def commands(files: Path, *, fix: bool) -> list[list[str]]:
    """The commands of a check, or those that mend."""
    sources = sorted(str(file) for file in files.iterdir() if file.suffix in {".css", ".html", ".js"})
    scripts = [source for source in sources if source.endswith(".js")]
    format_ = ["prettier", "--config", str(SETTINGS / "prettier.json"), "--log-level", "warn"]
    lint = ["eslint", "--config", str(SETTINGS / "eslint.config.cjs"), "--max-warnings", "0"]
    if fix:
        return [[*lint, "--fix", *scripts], [*format_, "--write", *sources]]
    return [
        [*format_, "--check", *sources],
        [*lint, *scripts],
        ["tsc", "--project", str(SETTINGS / "tsconfig.json")],
    ]


def run(tool: str, *arguments: str, folder: Path, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """A tool of the packages, run in the folder of the files: ESLint ignores those outside of where it runs."""
    environment = {**os.environ, "NODE_PATH": str(PACKAGES / "node_modules")}
    command = [str(PACKAGES / "node_modules/.bin" / tool), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=capture, text=True)


if __name__ == "__main__":
    sys.exit(main(fix="--fix" in sys.argv[1:]))
