"""The recipes that ship with medseg: partial plans in YAML, known by the names of their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FOR_EDITORS = "yaml-language-server:"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A shipped recipe: its name, its YAML, and what it is for, in a line."""

    name: str
    text: str
    summary: str


def shipped_recipes() -> dict[str, Recipe]:
    """The recipes that ship with medseg, by name."""
    found = {}
    for path in sorted(recipe_folder().glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        found[path.stem] = Recipe(path.stem, text, _first_comment(text))
    return found


def recipe_folder() -> Path:
    """Where they lie: configs/ is inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def _first_comment(text: str) -> str:
    """The first line of comment that is not for editors."""
    for line in text.splitlines():
        words = line.removeprefix("#").strip()
        if line.startswith("#") and words and not words.startswith(_FOR_EDITORS):
            return words
    return ""
