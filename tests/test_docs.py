"""The docs are true as far as a test can tell: they name every setting, command, route and problem, and no other."""

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
from pixyproxy.web.session.details import SessionDetails
from tests.servers import run_cli
from tests.test_authentication import every_route

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (ROOT / "docs" / f"{name}.md").read_text()


def section(name: str, title: str) -> str:
    """The text of a section of a page."""
    return page(name).split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_readme_is_the_first_ten_minutes_and_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= 150
    for path in PAGES[1:]:
        assert f"](docs/{path.name})" in README, path.name


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text()
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    assert links
    for link in links:
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("path", PAGES[1:], ids=lambda path: path.name)
def test_every_page_begins_with_its_job(path: Path) -> None:
    title, empty, job = path.read_text().splitlines()[:3]
    assert (title.startswith("# "), empty) == (True, "")
    assert job.startswith(("This page ", "A generation "))


def every_exception() -> list[type[PixyProxyException]]:
    """Each class of the tree."""
    found = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, PixyProxyException)]


def test_every_setting_stands_in_the_docs_with_its_default_and_no_other() -> None:
    configuration = page("configuration")
    table = configuration[configuration.index("| variable") :]
    settings = {field.alias or f"PIXYPROXY_{name.upper()}": field for name, field in Settings.model_fields.items()}
    first_cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`((?:PIXYPROXY|OPENAI)_\w+)`", first_cells)) == set(settings)
    for name, field in settings.items():
        (row,) = [line for line in table.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
        default = field.default
        if default is not None and not isinstance(default, bool | Path):
            assert f"`{default:g}`" in row if isinstance(default, float) else f"`{default}`" in row


def test_every_command_stands_in_the_docs() -> None:
    commands = section("operations", "Commands")
    root = build_parser()
    names = [
        name for action in root._actions if hasattr(action, "choices") and action.choices for name in action.choices
    ]
    assert names == [
        "serve",
        "migrate",
        "keys",
        "login",
        "prices",
        "budgets",
        "usage",
        "reconcile",
        "check",
        "doctor",
        "reindex",
        "demo-upstream",
    ]
    for name in names:
        assert f"`pixyproxy {name} " in commands or f"`pixyproxy {name}`" in commands
    options = ("--host", "--port", "--workers", "--create-bucket", "--delay", "--key")
    for option in (*options, "create NAME", "list", "revoke NAME"):
        assert option in commands


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["serve"], {"--host", "--port", "--workers"}),
        (["migrate"], {"--create-bucket"}),
        (["reconcile"], {"--apply", "--max-deletes", "--after", "--force"}),
        (["check"], set()),
        (["prices", "list"], {"--all"}),
        (["prices", "import"], set()),
        (["prices", "check"], {"--days"}),
        (["usage"], {"--month", "--from", "--to", "--by", "--key", "--csv"}),
        (["demo-upstream"], {"--host", "--port", "--delay"}),
    ],
)
def test_every_option_stands_in_the_docs(tmp_path: Path, arguments: list[str], options: set[str]) -> None:
    cells = [line.split("|")[1] for line in section("operations", "Commands").splitlines() if line.startswith("|")]
    shown = [code for cell in cells for code in re.findall(r"`(?:pixyproxy )?([^`]+)`", cell)]
    (code,) = [code for code in shown if code.split()[: len(arguments)] == arguments]
    assert set(re.findall(r"--[a-z-]+", code)) == options
    said = run_cli(tmp_path, *arguments, "--help").stdout
    assert set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", said, re.M)) - {"--help"} == options


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's commands, by name."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: command for action in actions for name, command in action.choices.items()}


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def shown_commands(path: Path) -> Iterator[str]:
    """The code of a page that is for a shell."""
    text = path.read_text()
    yield from re.findall(r"^```(?:sh|console)\n(.*?)^```$", text, re.M | re.S)
    yield from (code for code in re.findall(r"`([^`\n]+)`", prose(text)) if re.match(r"[\w./]*pixyproxy ", code))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_that_a_page_shows_exists(path: Path) -> None:
    shown = re.findall(
        r"pixyproxy ((?:keys|prices) [a-z]+|[a-z][a-z-]+)((?: +--[a-z-]+)*)", "\n".join(shown_commands(path))
    )
    for command, options in shown:
        parser = build_parser()
        for name in command.split():
            assert name in subcommands(parser), command
            parser = subcommands(parser)[name]
        known = {option for action in parser._actions for option in action.option_strings}
        assert set(options.split()) <= known, command


def test_no_sentence_stands_in_two_places() -> None:
    seen: dict[str, str] = {}
    for path in PAGES:
        text = re.sub(r"<[^>]+>", "", prose(path.read_text()))
        for piece in re.split(r"\n\s*\n|\n(?=[*|])|\|", text):
            for sentence in re.split(r"(?<=[.:;])\s+", " ".join(piece.split())):
                if len(sentence) >= 60:
                    assert sentence not in seen, f"{path.name} and {seen[sentence]}: {sentence}"
                    seen[sentence] = path.name


def test_every_problem_stands_in_the_docs_with_its_status_and_cost_and_no_other() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page("problems").splitlines()]
    problems = [row for row in rows if re.fullmatch(r"`[a-z-]+`", row[0]) and len(row) == 5]
    hidden = {PixyProxyException, ConfigurationError, ObjectNotFoundError, exceptions.UnavailableError}
    expected = {
        (f"`{kind.name}`", str(kind.status), kind.cost or "–") for kind in every_exception() if kind not in hidden
    }
    assert {(name, status, cost) for name, status, _, cost, _ in problems} == expected
    assert len(problems) == len(expected)
    assert all(meaning and to_do for _, _, meaning, _, to_do in problems)


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


def test_every_route_stands_in_the_docs() -> None:
    api = page("api")
    for method, path in every_route():
        if path in ("/image/", "/generation/", "/mcp/") or (method == "HEAD" and "content" not in path):
            continue
        path = path.replace(":path}", "}")
        written = rf"`({method}|GET`, `HEAD) {re.escape(path)}[?`]"
        assert re.search(written, api) or f"`{path}`" in api, (method, path)


def test_every_route_in_the_table_of_the_docs_exists() -> None:
    table = page("api").split("\n## ", 1)[0]
    first_cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    shown = re.findall(r"(GET|HEAD|POST|PUT|PATCH|DELETE) (/[^`?]*)", first_cells)
    gets = {path for method, path in every_route() if method == "GET"} | {"/openapi.json"}
    known = {
        *((method, path.replace(":path}", "}")) for method, path in every_route()),
        *(("GET", path) for path in gets),
        *(("HEAD", path) for path in gets),
    }
    assert len(shown) > 10
    assert set(shown) <= known


def test_every_field_of_a_request_stands_in_the_docs_and_no_other() -> None:
    table = section("api", "POST /image").split("\n### ", 1)[0]
    first_cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`(\w+)`", first_cells)) == set(CreateImageBody.model_fields)


def test_every_field_of_a_session_stands_in_the_docs_and_no_other() -> None:
    lines = [line for line in section("api", "Sessions").splitlines() if line.startswith("| `")]
    named = {name for line in lines for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(SessionDetails.model_fields)


def test_every_route_of_images_and_generations_has_a_section_and_no_other() -> None:
    titles = re.findall(r"^## ([A-Z]+ /.*)$", page("api"), re.M)
    routes = {f"{method} {path}" for method, path in every_route() if path.startswith(("/image", "/generation"))}
    assert set(titles) == {route for route in routes if not route.startswith("HEAD ") and not route.endswith("/")}
    assert len(titles) == len(set(titles))


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


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_every_setting_that_a_page_names_is_one(path: Path) -> None:
    named = set(re.findall(r"\bPIXYPROXY_[A-Z0-9_]+", path.read_text())) - {"PIXYPROXY_TEST_MYSQL_URL"}
    assert named <= {f"PIXYPROXY_{name.upper()}" for name in Settings.model_fields}


def test_the_readme_has_ten_rows_of_settings_that_matter() -> None:
    table = README.split("\n## The settings that matter\n", 1)[1].split("\n## ", 1)[0]
    assert len([line for line in table.splitlines() if line.startswith("| `")]) == 10


def test_the_version_is_the_same_everywhere() -> None:
    (version,) = re.findall(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert f"## {version} " in (ROOT / "CHANGELOG.md").read_text()


def test_neither_a_registry_nor_a_hash_without_a_version_stands_in_the_pins() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "benchmarks/requirements.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert all(" --hash" not in line or "==" in line or line.startswith("    ") for line in text.splitlines())
        assert "--hash=sha256:" in text
