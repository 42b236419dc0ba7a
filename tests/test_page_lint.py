"""The linter of the page finds what must not stand in its scripts."""

import json
from pathlib import Path

import pytest

from tests import lint_page
from tests.servers import missing

FOUND = {
    "no-restricted-properties": [
        "document.body.innerHTML = location.hash;",
        "document.body.outerHTML = location.hash;",
        'document.body.insertAdjacentHTML("beforeend", location.hash);',
        "document.write(location.hash);",
        "document.cookie = location.hash;",
    ],
    "no-restricted-syntax": [
        'Object.assign(document.body, { innerHTML: "x" });',
        'document.body.setAttribute("style", "color: red");',
        'document.body.setAttribute("onclick", "1");',
        'fetch("https://example.org/");',
        'fetch("//example.org/");',
        "fetch(`https://example.org/${location.hash}`);",
    ],
    "no-eval": ['eval("1");'],
    "no-new-func": ['new Function("1")();'],
    "no-implied-eval": ['setTimeout("1", 1);'],
    "no-undef": ["undeclared();"],
    "no-unused-vars": ["const unused = 1;"],
    "eqeqeq": ['if (location.hash == "x") location.reload();'],
    "prefer-const": ["let once = 1; fetch(once);"],
    "no-console": ["console.log(1);"],
    "max-len": [f'fetch("{"x" * 120}");'],
    "max-lines": ["fetch(location);\n" * 251],
}
ALLOWED = """const box = document.createElementNS("http://www.w3.org/2000/svg", "svg");
box.setAttribute("aria-label", "a picture");
box.textContent = "<b>";
box.style.flexBasis = "50%";
document.body.append(box);
fetch(`image/${location.hash}`);
"""


@pytest.fixture(scope="module", autouse=True)
def linters() -> None:
    """The packages of npm that check the page."""
    if not (lint_page.PACKAGES / "done").exists():
        missing("the page's linters", "make check")


def lint(folder: Path, *codes: str) -> list[set[str]]:
    """The rules that each of these scripts breaks."""
    folder.mkdir(exist_ok=True)
    for number, code in enumerate(codes):
        (folder / f"{number:02}.js").write_text(code)
    (command,) = [each for each in lint_page.commands(folder, fix=False) if each[0] == "eslint"]
    results = json.loads(lint_page.run(*command, "--format", "json", folder=folder, capture=True).stdout)
    found = {Path(result["filePath"]).name: {each["ruleId"] for each in result["messages"]} for result in results}
    return [found[f"{number:02}.js"] for number in range(len(codes))]


def test_what_the_policy_and_good_sense_forbid_is_found(tmp_path: Path) -> None:
    wanted = [(rule, code) for rule, codes in FOUND.items() for code in codes]
    seen = lint(tmp_path, *(code for _, code in wanted))
    assert [(rule, code[:80]) for (rule, code), found in zip(wanted, seen, strict=True) if rule not in found] == []


def test_no_comment_switches_it_off(tmp_path: Path) -> None:
    assert lint(tmp_path, "/* eslint-disable */\neval('1');") == [{"no-eval", None}]


def test_what_is_needed_is_allowed(tmp_path: Path) -> None:
    assert lint(tmp_path, ALLOWED) == [set()]


def test_without_node_it_says_so_and_fails_in_ci_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "env", "realpath", "cmp"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    monkeypatch.setenv("PATH", str(tools))
    for ci, status in (("true", 1), ("", 0)):
        monkeypatch.setenv("CI", ci)
        assert lint_page.main(fix=False, packages=tmp_path / "packages") == status
        said = capfd.readouterr()
        assert "node is not installed" in said.err
        assert "are not checked" in said.out
