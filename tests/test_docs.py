"""The README is true as far as a test can tell: it names every setting, command, route and problem, and no other."""

import re
from pathlib import Path

import pytest

from pixyproxy.cli.main import build_parser
from pixyproxy.core import exceptions
from pixyproxy.core.exceptions import ConfigurationError, ObjectNotFoundError, PixyProxyException
from pixyproxy.core.generations import GenerationRequest
from pixyproxy.settings import Settings
from tests.servers import run_cli
from tests.test_authentication import every_route

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """The text of a section."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def every_exception() -> list[type[PixyProxyException]]:
    """Each class of the tree."""
    found = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, PixyProxyException)]


def test_every_setting_stands_in_the_readme_with_its_default_and_no_other() -> None:
    configuration = section("Configuration")
    table = configuration[configuration.index("| variable") :]
    settings = {field.alias or f"PIXYPROXY_{name.upper()}": field for name, field in Settings.model_fields.items()}
    first_cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`((?:PIXYPROXY|OPENAI)_\w+)`", first_cells)) == set(settings)
    for name, field in settings.items():
        (row,) = [line for line in table.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
        default = field.default
        if default is not None and not isinstance(default, bool | Path):
            assert f"`{default:g}`" in row if isinstance(default, float) else f"`{default}`" in row


def test_every_command_stands_in_the_readme() -> None:
    commands = section("Commands")
    root = build_parser()
    names = [
        name for action in root._actions if hasattr(action, "choices") and action.choices for name in action.choices
    ]
    assert names == ["serve", "migrate", "keys", "reconcile", "check", "demo-upstream"]
    for name in names:
        assert f"`pixyproxy {name} " in commands or f"`pixyproxy {name}`" in commands
    for option in ("--host", "--port", "--workers", "--create-bucket", "--delay", "create NAME", "list", "revoke NAME"):
        assert option in commands


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
def test_every_option_stands_in_the_readme(tmp_path: Path, arguments: list[str], options: set[str]) -> None:
    assert all(option in section("Commands") for option in options)
    said = run_cli(tmp_path, *arguments, "--help").stdout
    assert set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", said, re.M)) - {"--help"} == options


def test_every_problem_stands_in_the_readme_with_its_status_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", section("Problems"), re.M)
    hidden = {PixyProxyException, ConfigurationError, ObjectNotFoundError, exceptions.UnavailableError}
    expected = {(kind.name, str(kind.status)) for kind in every_exception() if kind not in hidden}
    assert set(rows) == expected
    assert len(rows) == len(expected)


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


def test_every_route_stands_in_the_readme() -> None:
    api = section("API")
    for method, path in every_route():
        if path in ("/redoc", "/docs/oauth2-redirect", "/image/", "/generation/") or (
            method == "HEAD" and "content" not in path
        ):
            continue
        written = rf"`({method}|GET`, `HEAD) {re.escape(path)}[?`]"
        assert re.search(written, api) or f"`{path}`" in api, (method, path)


def test_every_field_of_a_request_stands_in_the_readme() -> None:
    for name in GenerationRequest.model_fields:
        assert f"`{name}`" in section("API")


def test_every_file_that_the_readme_names_exists() -> None:
    for name in re.findall(r"`((?:web|service|data|storage|generation|core)/\w+\.py|\w+\.py)`", README):
        assert (ROOT / "pixyproxy" / name).exists(), name
    for name in re.findall(r'src="([^"]+)"', README):
        assert (ROOT / name).exists(), name


def test_every_target_of_make_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.M))
    assert named <= targets
    assert {"run", "test", "check", "format", "pins"} <= named


def test_it_says_what_the_tests_run_against() -> None:
    deployment = section("Deployment")
    for said in ("MariaDB 10.11", "SeaweedFS 4.48", "moto", "MySQL and MinIO\nthemselves were not run"):
        assert said in deployment


def test_the_version_is_the_same_everywhere() -> None:
    (version,) = re.findall(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert f"## {version} " in (ROOT / "CHANGELOG.md").read_text()


def test_neither_a_registry_nor_a_hash_without_a_version_stands_in_the_pins() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "benchmarks/requirements.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert all(" --hash" not in line or "==" in line or line.startswith("    ") for line in text.splitlines())
        assert "--hash=sha256:" in text
