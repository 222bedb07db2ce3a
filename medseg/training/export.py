"""The end of a run: scores on whole scans, the model card, the bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from medseg.datasets import Case
from medseg.inference.flips import Forward
from medseg.models import ModelBundle, save_bundle
from medseg.networks import tensors_of
from medseg.plans import Plan
from medseg.quality import fit_scope
from medseg.training.onnx_export import onnx_builder
from medseg.training.postprocessing import card_section
from medseg.training.scans import scan_of
from medseg.training.splits import Split
from medseg.training.validation import CaseScore, SegmentedCase, label_means, mean_of, segment_case

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What the bundle remembers of its training."""

    dataset: str
    fold: str
    steps: int
    minutes: float
    device: str
    precision: str
    versions: dict[str, str]
    postprocess: dict[str, Any] | None = None

    def to_json(self, plan: Plan, split: Split) -> dict[str, Any]:
        """Plain values for ``medseg.yaml``. Case ids stay in the run: a bundle travels."""
        return {
            "dataset": self.dataset,
            "fold": self.fold,
            "cases_trained_on": len(split.training),
            "cases_validated_on": len(split.validation),
            "cases_held_back": len(split.held_back),
            "steps": self.steps,
            "batch_size": plan.sampling.batch_size,
            "minutes": round(self.minutes, 1),
            "device": self.device,
            "precision": self.precision,
            "versions": self.versions,
            **({} if self.postprocess is None else {"postprocess": self.postprocess}),
        }


def half_precision(module: nn.Module) -> dict[str, Any]:
    """The network's tensors as a bundle keeps them: kernels rounded to float16, vectors in float32.

    Biases and what batch normalisation has counted weigh next to nothing, and a variance may lie far below
    what float16 can hold.
    """
    return {
        name: value.astype(np.float16) if value.ndim > 1 else value.astype(np.float32)
        for name, value in tensors_of(module).items()
    }


def score_all(
    cases: Sequence[Case],
    plan: Plan,
    forward: Forward,
    stage: str,
    progress: Progress | None = None,
    look: Callable[[SegmentedCase], None] | None = None,
) -> list[CaseScore]:
    """Score every case on its own grid, from its files; ``look`` sees each before the next one is read."""
    scores = []
    for number, case in enumerate(cases):
        segmented = segment_case(case, plan, forward)
        if look is not None:
            look(segmented)
        scores.append(segmented.score)
        if progress is not None:
            progress(stage, number + 1, len(cases))
    return scores


def export_bundle(
    folder: Path,
    plan: Plan,
    module: nn.Module,
    tensors: dict[str, Any],
    split: Split,
    facts: TrainingFacts,
    scores: dict[str, list[CaseScore]],
) -> ModelBundle:
    """Write the bundle: weights, ONNX, scope learnt from the training scans, card, licence."""
    volumes = (scan_of(case, plan)[0] for case in split.training)
    scope = fit_scope(
        volumes, plan, plan.card.description or f"scans like those of dataset {facts.dataset!r}"
    )
    summary = {name: summarise(values, plan) for name, values in scores.items() if values}
    training = facts.to_json(plan, split)
    return save_bundle(
        folder,
        plan=plan,
        weights=tensors,
        build_onnx=onnx_builder(module, plan, tensors),
        scope=scope,
        precision="f32",
        execution={"overlap": plan.inference.overlap, "batch_size": plan.sampling.batch_size},
        training=training,
        scores=summary,
        card=model_card(plan, training, summary),
        licence=plan.card.licence.rstrip() + "\n",
    )


def summarise(scores: Sequence[CaseScore], plan: Plan) -> dict[str, Any]:
    """Number of cases, mean and spread of Dice over all labels (or regions) and of each."""
    means = [score.mean for score in scores if score.mean is not None]
    by_label = label_means(scores, tuple(plan.scored))
    return {
        "cases": len(scores),
        "mean_dice": _rounded(mean_of(means)),
        "std_dice": _rounded(float(np.std(means, ddof=1)) if len(means) > 1 else None),
        "dice": {plan.scored[i]: _rounded(value) for i, value in by_label.items()},
    }


def model_card(plan: Plan, training: dict[str, Any], scores: dict[str, Any]) -> str:
    """The bundle's docs/README.md."""
    lines = [f"# {plan.name}", "", plan.card.description or "No description was given.", "", "## Labels", ""]
    lines += ["| id | name |", "| --- | --- |", f"| 0 | {plan.background} |"]
    lines += [f"| {label.id} | {label.name} |" for label in plan.label_set]
    if plan.regions:
        lines += ["", "## Regions", "", "What the network finds; each is painted over those before it.", ""]
        lines += ["| region | labels | painted as |", "| --- | --- | --- |"]
        lines += [f"| {r.name} | {', '.join(map(str, r.labels))} | {r.paints} |" for r in plan.regions]
    lines += ["", "## Data", "", plan.card.data or f"Dataset `{training['dataset']}`.", ""]
    lines += [
        f"Trained on {training['cases_trained_on']} cases (fold {training['fold']}), "
        f"{training['steps']} steps of {training['batch_size']} patches of "
        f"{'x'.join(map(str, training.get('patch', plan.patch)))} voxels, "
        f"{training['minutes']:g} minutes on {training['device']} in {training['precision']}.",
        "",
        "## Scores",
        "",
    ]
    if not scores:
        lines += ["None: every case was trained on.", ""]
    for name, summary in scores.items():
        what = {
            "validation": "Validation cases (the best checkpoint was chosen on them)",
            "held_back": "Held-back cases (no weight was trained, tuned or chosen on them)",
            "made_scans": "Made scans of held-back label maps, of several contrasts and resolutions",
        }.get(name, name)
        lines += [f"{what}, {summary['cases']} cases, Dice on the scan's own grid:", ""]
        lines += ["| label | mean Dice |", "| --- | --- |"]
        lines += [f"| {label} | {_figure(value)} |" for label, value in summary["dice"].items()]
        lines += [
            f"| all | {_figure(summary['mean_dice'])} (sd over cases {_figure(summary['std_dice'])}) |",
            "",
        ]
    lines += card_section(plan, training.get("postprocess"), scored_with=True)
    lines += ["## Limits", "", plan.card.limits, ""]
    return "\n".join(lines)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
