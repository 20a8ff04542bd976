"""What the commands share: how they speak to people and to scripts."""

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

console = Console(stderr=True)

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one machine-readable line on standard output.")
]


def report(as_json: bool, facts: dict[str, Any], text: str) -> None:
    """Print the result of a command.

    Args:
        as_json: one line of JSON instead of text.
        facts: JSON values.
        text: for people.
    """
    print(json.dumps(facts) if as_json else text)


def check_folders(*folders: Path) -> None:
    """End the command unless each of these is a folder.

    Args:
        folders: of pictures.
    """
    for folder in folders:
        if not folder.is_dir():
            fail(f"{folder}: no such folder; check the name")


def fail(message: str) -> NoReturn:
    """End the command with an error in one line and exit code 2."""
    console.print(
        f"neuralpaint: {message}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    raise typer.Exit(2)
