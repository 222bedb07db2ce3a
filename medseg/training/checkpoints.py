"""Checkpoints: everything a run needs to go on exactly. Read as tensors and plain values only."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from medseg.errors import InputRefused
from medseg.io import files

LAST, BEST = "last.pt", "best.pt"


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write atomically: a kill leaves the checkpoint before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_output(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read on the CPU, never running code from the file.

    Raises
    ------
    InputRefused
        If it is not a checkpoint of this format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, UnpicklingError) as error:
        raise InputRefused(
            f"{path}: not a readable checkpoint: {error}", code="bad-checkpoint", path=path
        ) from error
    if not isinstance(state, dict) or state.get("format_version") != 1:
        raise InputRefused(
            f"{path}: a checkpoint of another version of medseg", code="bad-checkpoint", path=path
        )
    return state
