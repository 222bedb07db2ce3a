"""A run's folder: what it was begun with, and what may go on in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medseg.errors import ModelRefused, NotFound, PlanInvalid, UsageError
from medseg.io import files
from medseg.models import load_model
from medseg.plans import Plan, read_plan
from medseg.training.logs import STEPS, read_rows
from medseg.training.recipes import merged
from medseg.training.splits import Fold, Split


def refuse_used(run: Path) -> None:
    """Raise `UsageError` for a folder that holds a run, or anything else."""
    if (run / "plan.yaml").exists():
        raise UsageError(f"{run} already holds a run: go on with --resume, or choose another folder")
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UsageError(f"{run} is not an empty folder: choose another one for the run")


def resumed_plan(run: Path, layers: dict[str, Any], fold: Fold) -> Plan | None:
    """The plan of a run that was begun; refused if what is asked now would change it."""
    if not (run / "plan.yaml").is_file() or not (run / "run.json").is_file():
        return None
    the_plan = read_plan(run / "plan.yaml")
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if facts["fold"] != str(fold):
        raise UsageError(f"{run} is a run of fold {facts['fold']}, not of {fold}: choose another folder")
    asked = Plan.checked(merged(the_plan.model_dump(mode="json"), layers), "plan")
    if asked != the_plan:
        raise UsageError(f"{run}: its plan differs from the config or overrides given; resume without them")
    return the_plan


def refuse_other_cases(run: Path, parts: Split) -> None:
    """Other cases make other folds: what validated would train, and what was held back be read."""
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    for name, now in parts.to_json().items():
        if changed := sorted(set(facts[name]) ^ set(now)):
            raise UsageError(
                f"{run}: its {name.replace('_', ' ')} cases were {len(facts[name])}, the dataset now gives "
                f"{len(now)}; different: {', '.join(changed[:5])}. Restore the dataset, or start another run"
            )


def write_run(run: Path, the_plan: Plan, parts: Split, fold: Fold, dataset: str) -> None:
    """Begin a run: its plan, and which cases it trains on."""
    files.make_folder(run)
    files.write_text(run / "plan.yaml", the_plan.to_yaml())
    facts = {"format_version": 1, "dataset": dataset, "fold": str(fold), **parts.to_json()}
    files.write_text(run / "run.json", json.dumps(facts, indent=1) + "\n")


def lost_postprocess(bundle: Path, the_plan: Plan) -> str:
    """Steps of post-processing of a bundle that a plan lacks, as chosen for it after its training; or ""."""
    try:
        before = load_model(bundle).plan.inference.postprocess
    except (NotFound, ModelRefused, PlanInvalid):  # none yet, or one that cannot be used: nothing is lost
        return ""
    return ", ".join(step.step for step in before if step not in the_plan.inference.postprocess)


def steps_made(run: Path) -> int:
    """Steps of the training so far, those before a resume included."""
    return len(read_rows(run / STEPS))


def minutes_spent(run: Path) -> float:
    """Minutes of all steps so far, those before a resume included."""
    return sum(row["seconds"] or 0.0 for row in read_rows(run / STEPS)) / 60
