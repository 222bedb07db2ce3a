"""Post-processing for finished runs: the folds of a cross-validation choose it together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.datasets import Case, read_dataset
from medseg.errors import NotFound, UsageError
from medseg.models import ModelBundle, load_model
from medseg.models.manifest import CARD
from medseg.models.save import save_with_plan
from medseg.pipeline import infer
from medseg.pipeline.ensemble import check_members
from medseg.pipeline.models import open_model
from medseg.plans import Plan, read_plan
from medseg.postprocess import apply_steps
from medseg.training.postprocessing.card import card_section, with_section
from medseg.training.postprocessing.choice import StepChoice, choose_steps, with_chosen
from medseg.training.scans import scan_of
from medseg.volume import LabelMap

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class RunsChoice:
    """What was chosen, and the bundles that now hold it."""

    choice: StepChoice
    plan: Plan
    bundles: tuple[ModelBundle, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A finished run: the plan that it was started with, its bundle, the cases that validated."""

    folder: Path
    plan: Plan
    bundle: ModelBundle
    cases: tuple[Case, ...]


def choose_for_runs(
    runs: Sequence[Path | str],
    dataset: Path | str,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> RunsChoice:
    """Choose post-processing on the validation cases of runs, taken together, and store it in their bundles.

    Each run's bundle segments the cases that validated it, so that no model sees a case it was trained on:
    the runs of folds 0 to 4 cover every case of a dataset once. Steps that a run's plan was started with are
    done first and stay; steps chosen earlier are chosen anew.

    Parameters
    ----------
    runs
        Folders of finished runs of one plan, one or several.
    dataset
        The dataset that they were trained on.
    device
        As in `medseg.infer`.
    progress
        Called as ``progress("choose post-processing", done, cases)``.

    Raises
    ------
    NotFound
        If a run has no bundle, or the dataset is not there.
    UsageError
        If a run has no validation cases, two runs share one, the dataset lacks one, or the runs' models or
        the steps of their plans differ. Nothing is written then.
    """
    found = _read_runs(runs, dataset)
    total = sum(len(run.cases) for run in found)
    base = found[0].plan
    choice = choose_steps(_segmented(found, device), base, progress=progress, total=total)
    plan, facts = with_chosen(base, choice), choice.to_json(base)
    bundles = []
    for run in found:
        inference = run.bundle.plan.inference.model_copy(update={"postprocess": plan.inference.postprocess})
        with_steps = run.bundle.plan.model_copy(update={"inference": inference})
        card = with_section(run.bundle.text(CARD), card_section(with_steps, facts, scored_with=False))
        training = {**run.bundle.training, "postprocess": facts}
        bundles.append(save_with_plan(run.bundle, run.bundle.path, with_steps, training=training, card=card))
    return RunsChoice(choice, plan, tuple(bundles))


def _read_runs(runs: Sequence[Path | str], dataset: Path | str) -> list[_Run]:
    if not runs:
        raise UsageError("no run: name at least one folder that medseg train wrote")
    cases = {case.id: case for case in read_dataset(dataset).cases}
    owner: dict[str, Path] = {}
    found = []
    for folder in map(Path, runs):
        if not (folder / "run.json").is_file() or not (folder / "bundle").is_dir():
            raise NotFound(
                f"{folder}: not a finished run: expected run.json and bundle/, as medseg train writes"
            )
        ids = json.loads((folder / "run.json").read_text(encoding="utf-8"))["validation"]
        if not ids:
            raise UsageError(f"{folder}: no case validated it (--fold all): name runs of folds 0 to 4")
        if missing := [case for case in ids if case not in cases]:
            raise UsageError(f"{dataset}: lacks validation cases of {folder}: {', '.join(missing[:5])}")
        for case in ids:
            if case in owner:
                raise UsageError(
                    f"case {case!r} validated both {owner[case]} and {folder}: name one run for each fold"
                )
            owner[case] = folder
        plan, bundle = read_plan(folder / "plan.yaml"), load_model(folder / "bundle")
        found.append(_Run(folder, plan, bundle, tuple(cases[case] for case in ids)))
    if len(found) > 1:
        check_members([run.bundle for run in found])
    for run in found[1:]:
        if run.plan.inference.steps != found[0].plan.inference.steps:
            raise UsageError(f"{found[0].folder} and {run.folder}: their plans' own post-processing differs")
    return found


def _segmented(runs: Sequence[_Run], device: str) -> Iterator[tuple[LabelMap, NDArray[np.unsignedinteger]]]:
    for run in runs:
        model = open_model(run.bundle, device=device)
        for case in run.cases:
            volume, reference = scan_of(case, run.plan)
            labels = infer(volume, model, device=device, postprocess="none").labels
            yield apply_steps(labels, run.plan.inference.steps, volume.data), reference.data
