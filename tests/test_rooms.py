"""The tools that hold the tree in shape, run as tests: what passes here passes before a commit too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
CODE = ["medseg", "napari_plugin", "tests", "scripts", "benchmarks", "setup.py"]


@pytest.mark.parametrize(
    "command",
    [
        ["lint-imports", "--no-cache"],
        ["ruff", "check", "--no-cache", *CODE],
        ["ruff", "format", "--no-cache", "--check", *CODE],
        ["mypy", "--no-error-summary"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_tree_passes(command: list[str]) -> None:
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_of_the_tree_is_in_the_distribution() -> None:
    """setup.py finds packages by their ``__init__.py``; the wheel lacks a folder without one."""
    folders = {path.parent for path in (ROOT / "medseg").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]
