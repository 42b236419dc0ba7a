"""`pixyproxy prices`, as processes: what it shows, what it sets, and what a mistake gets."""

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from pixyproxy.data.init import migrate
from pixyproxy.data.prices import SHIPPED, shipped_prices
from tests.servers import run_cli

REAL = {"OPENAI_API_KEY": "sk-planted"}


@pytest.fixture(scope="module")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database, to copy."""
    file = tmp_path_factory.mktemp("migrated") / "pixyproxy.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def folder(tmp_path: Path, migrated_file: Path) -> Path:
    """A folder with the embedded default's database."""
    (tmp_path / "pixyproxy-data").mkdir()
    shutil.copyfile(migrated_file, tmp_path / "pixyproxy-data" / "pixyproxy.db")
    return tmp_path


def prices(folder: Path, *arguments: str, **environment: str) -> str:
    """What the command prints."""
    result = run_cli(folder, "prices", *arguments, environment={**REAL, **environment})
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(folder: Path, *arguments: str, status: int = 2) -> str:
    """What the command says that fails."""
    result = run_cli(folder, "prices", *arguments, environment=REAL)
    assert (result.returncode, result.stdout) == (status, "")
    assert "Traceback" not in result.stderr
    return result.stderr


def rows(table: str) -> dict[str, list[str]]:
    """The lines of a printed table by their models; a cell has no two spaces in it."""
    first, *others = table.splitlines()
    assert first.split("  ")[0] == "id"
    found = [re.split(r"\s{2,}", line.strip()) for line in others]
    return {line[2]: line for line in found}


def test_the_list_shows_our_prices_in_dollars_of_a_million_tokens(folder: Path) -> None:
    shown = rows(prices(folder, "list"))
    assert set(shown) == {terms.model for terms, _ in shipped_prices()}
    row = shown["gpt-image-1.5"]
    assert row[1:11] == ["openai", "gpt-image-1.5", "2025-12-16", "-", "5", "8", "1.25", "2", "32", "10"]
    assert row[11].startswith("reserves 0.009 to 0.2; shipped, of 2026-")
    assert shown["*"][5:11] == ["-"] * 6
    assert shown["*"][11].startswith("costs 0; shipped, of 2026-")


def test_a_price_is_set_for_the_configured_upstream_and_ends_the_one_before(folder: Path) -> None:
    first = rows(prices(folder, "set", "gpt-image-2", "--from", "2026-06-01", "--image-out", "30", "--text-in", "5"))
    assert first["gpt-image-2"][1:6] == ["openai", "gpt-image-2", "2026-06-01", "-", "5"]
    second = rows(
        prices(
            *(folder, "set", "gpt-image-2", "--from", "2026-09-01", "--to", "2026-12-24T18:00:00Z"),
            *("--image-out", "25.5", "--reserve", "0.2", "--reserve", "low:1024x1024=0.006", "--source", "a contract"),
        )
    )
    row = second["gpt-image-2"]
    assert row[3:5] == ["2026-09-01", "2026-12-24T18:00:00Z"]
    assert re.fullmatch(r"reserves 0.006 to 0.2; yours, of \d{4}-\d\d-\d\d: a contract", row[11])
    everything = prices(folder, "list", "--all")
    assert re.search(r" openai +gpt-image-2 +2026-06-01 +2026-09-01 +5 ", everything)
    assert "2026-06-01" not in prices(folder, "list"), "it has ended"
    with sqlite3.connect(folder / "pixyproxy-data" / "pixyproxy.db") as database:
        found = database.execute("SELECT image_out, reserve FROM prices WHERE shipped = 0 ORDER BY id").fetchall()
    assert found == [(30_000, None), (25_500, '{"*": {"*": 200000000}, "low": {"1024x1024": 6000000}}')]


def test_what_a_price_leaves_unknown_is_said(folder: Path) -> None:
    result = run_cli(folder, "prices", "set", "flux", "--image-out", "30", environment=REAL)
    assert "Unknown: text in, image in, cached text in, cached image in, text out." in result.stderr
    assert "Nothing to reserve" in result.stderr
    by_image = run_cli(folder, "prices", "set", "flux", "--per-image", "0.04", environment=REAL)
    assert (by_image.returncode, by_image.stderr) == (0, "")
    assert "costs 0.04; yours" in by_image.stdout


def test_another_upstream_is_named_or_is_that_of_the_settings(folder: Path) -> None:
    elsewhere = prices(folder, "set", "flux", "--per-image", "0.04", OPENAI_BASE_URL="https://Images.example:8443/v1")
    assert rows(elsewhere)["flux"][1] == "images.example:8443"
    named = prices(folder, "set", "flux", "--per-image", "0.04", "--upstream", "other.example")
    assert rows(named)["flux"][1] == "other.example"
    demo = prices(folder, "set", "flux", "--per-image", "0.04", PIXYPROXY_DEMO="1")
    assert rows(demo)["flux"][1] == "demo"


MISTAKES = {
    "negative": (["--image-out=-1"], "image_out: must not be negative"),
    "12 decimals": (["--image-out", "0.123456789012"], "image_out: must have at most 9 decimals"),
    "NaN": (["--image-out", "NaN"], "image_out: must be a plain decimal"),
    "an exponent": (["--per-image", "1e3"], "per_image.*.*: must be a plain decimal"),
    "a day that is none": (["--image-out", "1", "--from", "2026-02-30"], "valid_from: must be a day"),
    "an end before now": (["--image-out", "1", "--to", "2026-01-01"], "must end after it begins"),
    "an end before the beginning": (
        ["--image-out", "1", "--from", "2026-02-01", "--to", "2026-01-01"],
        "must end after it begins",
    ),
    "nothing": ([], "must have prices of tokens, or per_image"),
    "both": (["--image-out", "1", "--per-image", "1"], "must have prices of tokens, or per_image, and not both"),
    "half a kind": (["--per-image", "low=1"], "per_image: must be QUALITY:SIZE=USD"),
    "no quality": (["--per-image", ":1x1=1"], "per_image: must be QUALITY:SIZE=USD"),
    "twice": (["--reserve", "low:1x1=1", "--reserve", "low:1x1=1"], "reserve: is given twice for low:1x1"),
    "twice for all": (["--reserve", "1", "--reserve", "1"], "reserve: is given twice for *:*"),
    "an upstream with a path": (["--image-out", "1", "--upstream", "https://x/v1"], "upstream: "),
    "no source": (["--image-out", "1", "--source", " "], "source: "),
}


@pytest.mark.parametrize(("options", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_and_nothing_is_set(folder: Path, options: list[str], said: str) -> None:
    assert said in refused(folder, "set", "flux", *options)
    assert "flux" not in rows(prices(folder, "list", "--all"))


def test_a_price_that_reaches_into_a_later_one_is_refused(folder: Path) -> None:
    prices(folder, "set", "flux", "--per-image", "1", "--from", "2026-06-01")
    options = ("--per-image", "2", "--from", "2026-05-01")
    said = refused(folder, "set", "flux", *options, "--to", "2026-06-02", status=1)
    assert "overlaps with one that begins at 2026-06-01" in said
    assert rows(prices(folder, "set", "flux", *options))["flux"][4] == "2026-06-01", "it ends there"


def test_a_file_is_imported_whole_or_not_at_all_and_again_without_a_change(folder: Path) -> None:
    file = folder / "ours.toml"
    shutil.copyfile(SHIPPED, file)
    shipped = len(shipped_prices())
    for new in (shipped, 0):
        result = run_cli(folder, "prices", "import", str(file), environment=REAL)
        assert result.stderr == f"{new} new, {shipped - new} were set already.\n"
        assert len(rows(result.stdout)) == shipped
    before = prices(folder, "list", "--all")
    file.write_text(file.read_text() + '\n[[price]]\nupstream = "openai"\nmodel = "x"\nimage_out = -1\nsource = "s"\n')
    assert f"{file}: price {len(SHIPPED.read_text().split('[[price]]'))} ('x'): image_out" in refused(
        folder, "import", str(file)
    )
    assert prices(folder, "list", "--all") == before


def test_a_file_that_is_none_is_refused(folder: Path) -> None:
    assert "cannot be opened" in refused(folder, "import", str(folder / "nothing.toml"), status=1)
    assert "cannot be opened" in refused(folder, "import", str(folder), status=1)
    wrong = folder / "wrong.toml"
    for content, said in ((b"\xff", "is not UTF-8"), (b"price = [", "is not TOML"), (b"", "has no [[price]]")):
        wrong.write_bytes(content)
        assert f"{wrong}: {said}" in refused(folder, "import", str(wrong))


def check(folder: Path, *arguments: str, **environment: str) -> list[str]:
    """What the check finds; its exit status is 1 if it finds something."""
    result = run_cli(folder, "prices", "check", *arguments, environment={**REAL, **environment})
    found = [] if result.stdout.startswith("Every model") else result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (1 if found else 0, "")
    return found


FOREVER = ("--days", "36500")
"""So that the day on which the test runs makes no price old."""


def test_the_check_finds_models_without_a_price(folder: Path) -> None:
    assert check(folder, *FOREVER) == []
    found = check(
        *(folder, *FOREVER),
        PIXYPROXY_MODEL="gpt-image-2",
        PIXYPROXY_MODELS="gpt-image-2,flux",
        PIXYPROXY_MODEL_ALIASES="dall-e-3=gpt-image-77",
    )
    assert found == [
        "flux at openai: no price: what it costs is unknown",
        "gpt-image-77 at openai: no price: what it costs is unknown",
    ]
    prices(folder, "set", "*", "--per-image", "0.04")
    assert check(folder, *FOREVER, PIXYPROXY_MODELS="flux") == []
    elsewhere = check(folder, *FOREVER, OPENAI_BASE_URL="https://images.example/v1")
    assert elsewhere == ["gpt-image-2.5-flare at images.example: no price: what it costs is unknown"]
    assert check(folder, *FOREVER, PIXYPROXY_DEMO="1", PIXYPROXY_MODELS="flux") == [], "it costs nothing"


def test_the_check_finds_prices_with_nothing_to_reserve(folder: Path) -> None:
    (found,) = check(folder, *FOREVER, PIXYPROXY_MODEL="chatgpt-image-latest")
    assert found.startswith("chatgpt-image-latest at openai: nothing to reserve")


def test_the_check_finds_prices_that_nobody_has_looked_up_for_long(folder: Path) -> None:
    prices(folder, "set", "gpt-image-2", "--per-image", "0.04", "--source", "a contract")
    prices(folder, "set", "flux", "--per-image", "0.04", "--upstream", "demo")
    with sqlite3.connect(folder / "pixyproxy-data" / "pixyproxy.db") as database:
        database.execute("UPDATE prices SET recorded_at = '2001-01-01 00:00:00.000000' WHERE shipped = 0")
    (found,) = check(folder, "--days", "9000")
    said = r"gpt-image-2 at openai: its price is of 2001-01-01, \d+ days old; source: a contract"
    assert re.fullmatch(said, found)
    assert check(folder, *FOREVER) == []


def test_without_data_there_are_no_prices(tmp_path: Path) -> None:
    assert "nothing is at" in refused(tmp_path, "list")
