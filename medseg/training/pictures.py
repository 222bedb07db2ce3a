"""Pictures of a run: learning curves, and overlays of the best, middling and worst validation cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from medseg.datasets import Case
from medseg.plans import Plan
from medseg.report.curves import curves_png
from medseg.report.overlays import overlays_png
from medseg.training.devices import Device
from medseg.training.fit import evaluating, forward_of
from medseg.training.logs import SCORES, STEPS, read_rows
from medseg.training.splits import Split
from medseg.training.validation import CaseScore, segment_case


def draw_pictures(
    run: Path, plan: Plan, parts: Split, module: nn.Module, device: Device, validation: Sequence[CaseScore]
) -> None:
    """Write ``curves.png``, and ``overlays.png`` of three cases by rank of their validation score.

    Without validation cases the overlays show training cases, and the file's name says so.
    """
    curves_png([*read_rows(run / STEPS), *read_rows(run / SCORES)], run / "curves.png")
    chosen = _best_middle_worst(parts.validation, validation) or list(parts.training[:3])
    name = "overlays.png" if parts.validation else "overlays_training.png"
    forward = forward_of(module, device.torch_device)
    pictures = []
    with evaluating(module):
        for case in chosen:
            found = segment_case(case, plan, forward)
            pictures.append((case.id, found.volume, found.reference, found.predicted))
    drawable = [one for one in pictures if one[2].data.any() or one[3].data.any()]
    if drawable:
        overlays_png(drawable, run / name)


def _best_middle_worst(cases: Sequence[Case], scores: Sequence[CaseScore]) -> list[Case]:
    by_id = {case.id: case for case in cases}
    ranked = sorted((s for s in scores if s.mean is not None), key=lambda s: s.mean or 0.0, reverse=True)
    if len(ranked) < 3:
        return [by_id[score.case] for score in ranked]
    return [by_id[ranked[n].case] for n in (0, len(ranked) // 2, len(ranked) - 1)]
