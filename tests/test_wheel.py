"""The wheel that the Dockerfile installs has every file that the product reads at run time."""

import gzip
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = ROOT / "pixyproxy/web/page/files"
FIRST_VIEW_BYTES, FIRST_VIEW_FILES = 50 * 1024, 26
"""Of the document, its style, and the modules that it preloads; compressed. The others are loaded when used."""
ALL_BYTES = 96 * 1024


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this tree, built by the backend itself: pip would fetch the backend from a registry."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "pixyproxy", folder / "pixyproxy", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    built = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_backend_is_that_of_the_build() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert wanted == [f"setuptools=={version('setuptools')}"]


def test_every_file_of_the_page_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    files = {f"pixyproxy/web/page/files/{file.name}": file.read_bytes() for file in FILES.iterdir()}
    assert {"index.html", "page.css", "app.js", "icon.svg"} <= {file.name for file in FILES.iterdir()}
    assert {name: wheel.read(name) for name in files} == files


def test_the_prices_are_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    assert wheel.read("pixyproxy/data/prices.toml") == (ROOT / "pixyproxy/data/prices.toml").read_bytes()


def test_every_module_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "pixyproxy").rglob("*.py")}
    assert {name for name in wheel.namelist() if name.endswith(".py")} == modules


def test_the_page_is_small() -> None:
    sizes = {
        file.name: len(gzip.compress(file.read_bytes()))
        for file in FILES.iterdir()
        if file.suffix in {".html", ".css", ".js"}
    }
    document = (FILES / "index.html").read_text()
    first = {name: size for name, size in sizes.items() if name == "index.html" or f"{{static}}/{name}" in document}
    assert len(first) <= FIRST_VIEW_FILES
    assert sum(first.values()) <= FIRST_VIEW_BYTES, first
    assert sum(sizes.values()) <= ALL_BYTES, sizes
