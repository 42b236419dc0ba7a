"""The README and docs/ agree with the code: they name every setting, command, route and problem, and no other."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixyproxy.cli.main import build_parser
from pixyproxy.core import exceptions
from pixyproxy.core.exceptions import ConfigurationError, ObjectNotFoundError, PixyProxyException
from pixyproxy.settings import Settings
from pixyproxy.web.images.body import CreateImageBody
from tests.servers import run_cli
from tests.test_authentication import every_route

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
NAMES = ("configuration", "api", "problems", "operations", "reliability", "architecture", "development")
PAGES = [README, *(ROOT / "docs" / f"{name}.md" for name in NAMES)]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
MOST_LINES = 150
"""Lines of the README: what a newcomer reads in the first ten minutes."""


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (ROOT / "docs" / f"{name}.md").read_text()


def section(text: str, title: str) -> str:
    """The text below a heading of the second level."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every row of the tables in a text, without their heads."""
    lines = text.splitlines()
    heads = {number - 1 for number, line in enumerate(lines) if line.startswith("|---")}
    rows = [line for number, line in enumerate(lines) if line.startswith("|") and number not in heads]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if not row.startswith("|---")]


def code_blocks(text: str) -> list[tuple[str, str]]:
    """The language and the text of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def every_exception() -> list[type[PixyProxyException]]:
    """Each class of the tree."""
    found = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, PixyProxyException)]


def every_setting() -> dict[str, object]:
    """Each setting's name in the environment, and its default."""
    return {field.alias or f"PIXYPROXY_{name.upper()}": field.default for name, field in Settings.model_fields.items()}


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's commands, by name."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: command for action in actions for name, command in action.choices.items()}


# --- The pages


def test_the_readme_can_be_read_in_ten_minutes() -> None:
    assert len(README.read_text().splitlines()) <= MOST_LINES


def test_the_readme_links_every_page_of_docs() -> None:
    pages = {f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")}
    assert pages == {f"docs/{name}.md" for name in NAMES}
    where_to_go_on = section(README.read_text(), "Where to go on")
    assert pages <= set(re.findall(r"\]\(([^)#]+)\)", where_to_go_on))


@EVERY_PAGE
def test_a_page_begins_with_a_sentence_that_says_its_job(page: Path) -> None:
    title, empty, first = page.read_text().splitlines()[:3]
    assert re.fullmatch(r"# \w.+", title)
    assert empty == ""
    assert first.startswith("PixyProxy stands between " if page == README else "This page ")


@EVERY_PAGE
def test_every_relative_link_leads_to_a_file_and_to_a_heading_of_it(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", prose(text)) + re.findall(r'(?:src|href)="([^"]+)"', prose(text))
    for link in links:
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.resolve().is_relative_to(ROOT), link
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_no_sentence_stands_in_two_places() -> None:
    seen: dict[str, str] = {}
    for file in PAGES:
        for paragraph in re.split(r"\n\s*\n|\n(?=[*|])|\|", prose(file.read_text())):
            for sentence in re.split(r"(?<=[.:;])\s+", " ".join(paragraph.split())):
                if len(sentence) >= 60 and not sentence.startswith(("<img", "alt=")):
                    assert sentence not in seen, f"{file.name} and {seen.get(sentence)}: {sentence}"
                    seen[sentence] = file.name


# --- Settings


def test_every_setting_stands_in_the_configuration_with_its_default_and_no_other() -> None:
    rows = [row for row in table_rows(page("configuration")) if not row[0].startswith("`?")]
    settings = every_setting()
    named = [name for row in rows for name in re.findall(r"`((?:PIXYPROXY|OPENAI)_\w+)`", row[0])]
    assert sorted(named) == sorted(settings)
    for name, default in settings.items():
        (row,) = [row for row in rows if f"`{name}`" in row[0]]
        if default is not None and not isinstance(default, bool | Path):
            assert f"`{default:g}`" in row[1] if isinstance(default, float) else f"`{default}`" in row[1]


def test_the_readme_has_the_ten_settings_that_matter() -> None:
    rows = table_rows(section(README.read_text(), "The ten settings that matter"))
    named = [row[0].strip("`") for row in rows]
    assert len(named) == len(set(named)) == 10
    assert set(named) <= set(every_setting())


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["serve"], {"--host", "--port", "--workers"}),
        (["migrate"], {"--create-bucket"}),
        (["reconcile"], {"--apply", "--max-deletes", "--after", "--force"}),
        (["check"], set()),
        (["demo-upstream"], {"--host", "--port", "--delay"}),
    ],
)
def test_every_option_stands_in_the_docs(tmp_path: Path, arguments: list[str], options: set[str]) -> None:
    assert all(option in section("operations", "Commands") for option in options)
    said = run_cli(tmp_path, *arguments, "--help").stdout
    assert set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", said, re.M)) - {"--help"} == options


# --- Commands


def test_every_command_stands_in_the_operations_and_no_other() -> None:
    commands = section(page("operations"), "Commands")
    first_cells = " ".join(row[0] for row in table_rows(commands))
    shown = set(re.findall(r"`pixyproxy ([a-z-]+)", first_cells))
    assert shown == set(subcommands(build_parser()))
    for name, parser in subcommands(subcommands(build_parser())["keys"]).items():
        argument = " NAME" if any(not action.option_strings for action in parser._actions) else ""
        assert f"keys {name}{argument}`" in first_cells


@pytest.mark.parametrize("name", ["serve", "migrate", "reconcile", "check", "demo-upstream"])
def test_the_options_of_a_command_in_the_operations_are_those_of_its_help(tmp_path: Path, name: str) -> None:
    (row,) = [row for row in table_rows(section(page("operations"), "Commands")) if f"`pixyproxy {name}" in row[0]]
    said = run_cli(tmp_path, name, "--help").stdout
    assert set(re.findall(r"--[a-z-]+", row[0])) == set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", said, re.M)) - {"--help"}


@EVERY_PAGE
def test_every_command_of_ours_that_a_page_shows_exists(page: Path) -> None:
    parser = build_parser()
    shown = re.findall(r"pixyproxy (keys [a-z]+|[a-z][a-z-]+)((?: +\[?--?[a-z-]+)*)", "\n".join(shown_commands(page)))
    for command, options in shown:
        found = parser
        for name in command.split():
            assert name in subcommands(found), command
            found = subcommands(found)[name]
        known = {option for action in found._actions for option in action.option_strings}
        assert set(re.findall(r"--[a-z-]+", options)) <= known, command


def shown_commands(page: Path) -> Iterator[str]:
    """The code of a page that is for a shell."""
    text = page.read_text()
    yield from (code for language, code in code_blocks(text) if language in ("sh", "console"))
    yield from (code for code in re.findall(r"`([^`\n]+)`", prose(text)) if re.match(r"[\w./]*pixyproxy ", code))


@EVERY_PAGE
def test_every_target_of_make_that_a_page_shows_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.M)) <= targets


def test_every_target_of_make_stands_in_the_development_page() -> None:
    (targets,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)
    shown = re.findall(r"^make ([a-z]+) +#", page("development"), re.M)
    assert sorted(shown) == sorted(targets.split())


@EVERY_PAGE
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = prose(page.read_text())
    layers = "web|service|data|storage|upstream|core|cli|bootstrap"
    for name in re.findall(rf"`((?:{layers})/[\w/]+\.py|settings\.py)`", text):
        assert (ROOT / "pixyproxy" / name).is_file(), name
    for name in re.findall(r"`((?:deploy|tests|benchmarks|\.ci)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


# --- The API


def test_every_route_stands_in_the_api_and_no_other() -> None:
    api = page("api")
    routes = {(method, path) for method, path in every_route() if path not in ("/image/", "/generation/")}
    for method, path in routes:
        if method == "HEAD" and "content" not in path:
            continue
        written = rf"`({method}|GET`, `HEAD) {re.escape(path)}[?`]"
        assert re.search(written, api) or f"`{path}`" in api, (method, path)
    first_cells = " ".join(row[0] for row in table_rows(api.split("\n## ", 1)[0]))
    for path in re.findall(r"(?:GET|HEAD|POST|DELETE) (/[^`?]*)", first_cells):
        assert path == "/openapi.json" or path in {known for _, known in routes}, path


def test_every_private_and_public_route_has_a_section() -> None:
    titles = re.findall(r"^## ([A-Z]+ /.*)$", page("api"), re.M)
    routes = {f"{method} {path}" for method, path in every_route() if path.startswith(("/image", "/generation"))}
    assert set(titles) == {route for route in routes if not route.startswith("HEAD ") and not route.endswith("/")}


def test_every_field_of_a_request_stands_in_the_api_and_no_other() -> None:
    cells = [row[0] for row in table_rows(section(page("api"), "POST /image").split("\n### ", 1)[0])]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == set(CreateImageBody.model_fields)


# --- Problems


def test_every_problem_stands_on_its_page_with_its_status_and_cost_and_no_other() -> None:
    rows = table_rows(section(page("problems"), "All problems"))
    hidden = {PixyProxyException, ConfigurationError, ObjectNotFoundError, exceptions.UnavailableError}
    expected = {(f"`{kind.name}`", str(kind.status), kind.cost or "–") for kind in every_exception()} - {
        (f"`{kind.name}`", str(kind.status), kind.cost or "–") for kind in hidden - {PixyProxyException}
    }
    assert sorted((name, status, cost) for name, status, _, cost, _ in rows) == sorted(expected)
    assert all(meaning and to_do for _, _, meaning, _, to_do in rows)


@EVERY_PAGE
def test_every_problem_that_a_page_names_exists(page: Path) -> None:
    names = {kind.name for kind in every_exception()}
    text = page.read_text()
    assert set(re.findall(r"urn:pixyproxy:problem:([a-z-]+)", text)) <= names
    assert set(re.findall(r"\b[1-5]\d\d `([a-z]+(?:-[a-z]+)+)`", text)) <= names


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    tree = exceptions.__doc__ or ""
    drawn = re.findall(r"^([ │├└─]*)(\w+)(?: +(\d{3}))?", tree[tree.index("PixyProxyException") :], re.M)
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for indent, name, _ in drawn:
        if not name.endswith(("Error", "Exception")):
            continue
        path = [(depth, above) for depth, above in path if depth < len(indent)]
        if path:
            parents[name] = path[-1][1]
        path.append((len(indent), name))
    assert parents == {
        kind.__name__: kind.__bases__[0].__name__ for kind in every_exception() if kind is not PixyProxyException
    }
    for _, name, status in drawn:
        if status:
            assert getattr(exceptions, name).status == int(status)


# --- What else is promised


def test_every_field_of_a_request_stands_in_the_docs() -> None:
    for name in CreateImageBody.model_fields:
        assert f"`{name}`" in page("api")


def test_every_file_of_the_code_that_the_docs_name_exists() -> None:
    named = re.findall(r"`((?:web|service|data|storage|upstream|core|bootstrap|cli)/[\w/]+\.py)`", page("architecture"))
    assert len(named) > 30
    for name in named:
        assert (ROOT / "pixyproxy" / name).exists(), name


def test_every_target_of_make_that_the_docs_name_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {name for path in PAGES for name in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(), re.M)}
    assert named <= targets
    assert {"run", "test", "check", "format", "pins", "bench"} <= named


def test_it_says_what_the_tests_run_against() -> None:
    for said in ("MariaDB 10.11", "MySQL 9.7", "SeaweedFS 4.48", "moto", "MySQL 8.4 and MinIO were not run"):
        assert said in section("development", "What the tests run against")


USES = (
    r"\b(mysql|sql_server): |\"mysql\"",
    r"\b(mariadb|sql_server): |\"mariadb\"",
    r"\bseaweedfs: |\"seaweedfs\"",
)
"""How a file of tests asks for MySQL, MariaDB and SeaweedFS, as the columns of the table follow each other."""


def test_the_table_says_which_tests_run_on_which_server() -> None:
    table: dict[str, list[bool]] = {}
    for line in section("development", "What the tests run against").splitlines():
        first, *cells = line.strip("|").split("|")
        for name in re.findall(r"`(test_\w+\.py)`", first):
            table[name] = [cell.strip() == "yes" for cell in cells[:3]]
    used = {}
    for file in (ROOT / "tests").glob("test_*.py"):
        text = file.read_text()
        uses = [re.search(pattern, text) is not None for pattern in USES]
        if any(uses) and file != Path(__file__):
            used[file.name] = uses
    assert table == used


def test_the_settings_that_matter_are_settings() -> None:
    named = set(re.findall(r"`(PIXYPROXY_\w+)`", README))
    assert named <= {f"PIXYPROXY_{name.upper()}" for name in Settings.model_fields}


def test_the_version_is_the_same_everywhere() -> None:
    (version,) = re.findall(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert f"## {version} " in (ROOT / "CHANGELOG.md").read_text()


def test_neither_a_registry_nor_a_hash_without_a_version_stands_in_the_pins() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "benchmarks/requirements.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert all(" --hash" not in line or "==" in line or line.startswith("    ") for line in text.splitlines())
        assert "--hash=sha256:" in text
