"""What the pages say can be typed and clicked: links, targets, commands and options exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from neuralpaint.cli import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FOLDERS = ("agents", "benchmarks", "docs", "envs", "examples", "renderers", "zoo")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
)


def options_of(command: Any) -> dict[str, set[str]]:
    """The options of each command below a command, by its words: "paint", "train painter"."""
    found: dict[str, set[str]] = {}
    for name, child in getattr(command, "commands", {}).items():
        found[name] = {
            option for p in child.params for option in (*p.opts, *p.secondary_opts)
        }  # the second ones say no, as --no-balanced
        found |= {f"{name} {words}": options for words, options in options_of(child).items()}
    return found


COMMANDS = options_of(typer.main.get_command(app))


def code(page: Path) -> list[str]:
    """The inline code and the lines of the code blocks of a page, continued lines joined."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", rest)
    return [*inline, *indented, *(line for block in blocks for line in block.splitlines())]


def calls(page: Path) -> list[tuple[str, set[str]]]:
    """Each `neuralpaint <command> --options` of a page as (command, options)."""
    pattern = r"(?:^|(?<!from)[\s/])(?:python -m )?neuralpaint ([a-z][a-z-]*)([^#|;&]*)"
    found = []
    for line in code(page):
        for name, rest in re.findall(pattern, line):
            words = f"{name} {rest.split()[0]}" if rest.split() else name
            call = words if words in COMMANDS else name
            found.append((call, set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))))
    return found


def test_the_readme_shows_how_to_start() -> None:
    text = README.read_text("utf-8")
    assert "make demo" in text
    assert "make test" in text
    assert calls(README), "the README shows no command"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    files = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [file for file in files if not (page.parent / file).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_options_exist(page: Path) -> None:
    unknown = [(n, o) for n, options in calls(page) for o in options - COMMANDS.get(n, set())]
    assert unknown == []
    assert {name for name, _ in calls(page)} <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_make_targets_and_modules_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    lines = "\n".join(code(page))
    assert set(re.findall(r"\bmake (?:[A-Z]+=\S+ )*([a-z]+)", lines)) <= targets
    modules = re.findall(r"python3? -m neuralpaint((?:\.\w+)+)", lines)
    files = [ROOT / "neuralpaint" / name[1:].replace(".", "/") for name in modules]
    assert [
        f for f in files if not (f.with_suffix(".py").exists() or (f / "__main__.py").exists())
    ] == []
    scripts = re.findall(r"python3? ((?:examples|benchmarks)/\S+\.py)", lines)
    assert [script for script in scripts if not (ROOT / script).exists()] == []
