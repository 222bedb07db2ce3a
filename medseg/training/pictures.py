"""Pictures of a run: learning curves, and overlays of the best, middling and worst validation cases."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from medseg.plans import Plan
from medseg.training.devices import Device
from medseg.training.fit import evaluating, forward_of
from medseg.training.fingerprint import read_case
from medseg.training.logs import SCORES, STEPS, read_rows
from medseg.training.splits import Split
from medseg.training.validation import CaseScore, score_native


def draw_pictures(
    run: Path, plan: Plan, parts: Split, module: nn.Module, device: Device, scores: dict[str, list[CaseScore]]
) -> None:
    """Write ``curves.png``, and ``overlays.png`` where there are validation cases."""
