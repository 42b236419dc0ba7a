"""Where a run took place, and with what."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from benchmarks.contestants import BENCH_BIN, program
from tests.servers import BIN

LIBRARIES = (
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "aiohttp",
    "openai",
    "boto3",
    "SQLAlchemy",
    "PyMySQL",
)


def machine() -> dict[str, str]:
    """CPU, cores, memory and kernel."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "CPU": model[1] if model else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "load before the run": f"{os.getloadavg()[0]:.1f}",
    }


def said(command: list[str], pattern: str) -> str:
    """The version that a program reports; '?' if it reports none."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, ran.stdout + ran.stderr)
    return found[1] if found else "?"


def versions(mariadb: str) -> dict[str, str]:
    """The versions of everything that is measured, and of the tools that measure."""
    ask = "import importlib.metadata as known; print(known.version('litellm'))"
    return {
        "Python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "SeaweedFS": said([str(BIN / "weed"), "version"], r"version \S+ (\d+\.\d+)"),
        "MariaDB": mariadb,
        "nginx": said([program("nginx") or "nginx", "-v"], r"nginx/(\S+)"),
        "wrk": said(["wrk", "-v"], r"wrk (\S+)"),
        "LiteLLM": said([str(BENCH_BIN / "python"), "-c", ask], r"(\S+)"),
    }
