"""Losses and samplers on a structure of under 0.5 % of the voxels, at equal budget.

The task is made from the Decathlon's hippocampus: anterior and posterior as they are, but the hindmost
millimetres of the posterior part (``--tip-mm``, 3) become a third label, ``tip``: about a quarter of a per
cent of a scan's voxels, and towards the front with a border that no edge in the image marks. Patches of 32
voxels along each edge see a part of a scan, so that it matters where they lie. All train with the recipe
``fast``, on two of these patches a step.

Every setting is one argument: plan values as ``medseg train`` takes them, with spaces between several, or
``default``. Each is trained with the same minutes (the whole of ``medseg train``, export included) or steps,
once per seed, on the same cases; every fifth case is held back and scored. Finished runs stand in
``OUT/results.jsonl`` and are not done again. With ``--steps`` several of these may run side by side, each
with seeds of its own and the same OUT.

    python benchmarks/imbalance.py DATASET OUT --steps 500 --seeds 0,1 default loss.name=focal \\
        "loss.name=dice_ce loss.class_weights=inverse_sqrt" sampling.by=frequency
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import medseg

NAMES = {0: "background", 1: "anterior", 2: "posterior", 3: "tip"}
RARE = "tip"
BASE = ("hold_back_every=5", "patch=[32,32,32]")


@dataclass(frozen=True, slots=True)
class Budget:
    """What every run may use: minutes or steps, cases, the tip's length."""

    minutes: float | None
    steps: int | None
    cases: int | None
    tip_mm: float

    @property
    def overrides(self) -> tuple[str, ...]:
        """Plan values that hold a run to it."""
        if self.steps is not None:
            return (f"schedule.steps={self.steps}", f"schedule.validate_every={self.steps}")
        return ("schedule.steps=1000000",)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="Task04_Hippocampus of the Decathlon")
    parser.add_argument("out", type=Path)
    parser.add_argument("settings", nargs="+", help="'key=value key=value', or 'default'")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float, help="per run")
    budget.add_argument("--steps", type=int, help="per run")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--cases", type=int, help="the first so many only")
    parser.add_argument("--tip-mm", type=float, default=3.0)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    given = Budget(args.minutes, args.steps, args.cases, args.tip_mm)
    task = make_task(args.dataset, args.out, given)
    results = args.out / "results.jsonl"
    seeds = [int(text) for text in args.seeds.split(",")]
    for seed in seeds:  # seed by seed: a table of what is done compares like with like
        for setting in args.settings:
            if not any(_is(row, setting, seed, given) for row in read(results)):
                row = train(task, args.out / f"run-{seed}", setting, seed, given, args.device)
                with results.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
    rows = [row for row in read(results) if row["budget"] == asdict(given) and row["seed"] in seeds]
    print("\n".join(table(rows, args.settings)))


def make_task(dataset: Path, out: Path, budget: Budget) -> Path:
    """Label maps with the tip, and the list of cases; says how rare the tip is."""
    labels = sorted((dataset / "labelsTr").glob("hippocampus_*.nii.gz"))[: budget.cases]
    folder = out / f"labels-{budget.tip_mm:g}mm"
    folder.mkdir(parents=True, exist_ok=True)
    shares = []
    for path in labels:
        stored = nib.load(path)
        ids = with_tip(np.asarray(stored.dataobj).astype(np.uint8), stored.affine, budget.tip_mm)
        if not (folder / path.name).is_file():  # another process beside this one may be training on it
            nib.save(nib.Nifti1Image(ids, stored.affine), folder / f"part-{path.name}")
            (folder / f"part-{path.name}").replace(folder / path.name)
        shares.append((ids == 3).mean())
    print(f"{len(labels)} cases, {RARE}: {100 * np.mean(shares):.3f} % of the voxels")
    task = out / f"tip-{budget.tip_mm:g}mm-{len(labels)}.json"
    cases = [
        {
            "image": str((dataset / "imagesTr" / path.name).resolve()),
            "label": str((folder / path.name).resolve()),
        }
        for path in labels
    ]
    facts = {"labels": {str(i): name for i, name in NAMES.items()}, "cases": cases}
    task.write_text(json.dumps(facts), encoding="utf-8")
    return task


def with_tip(ids: np.ndarray, affine: np.ndarray, tip_mm: float) -> np.ndarray:
    """Voxels of the posterior part (2) less than ``tip_mm`` before its hindmost one become 3."""
    voxels = np.argwhere(ids == 2)
    anterior = (voxels @ affine[:3, :3].T)[:, 1]  # RAS+: the second world axis runs to the front
    tip = voxels[anterior < anterior.min() + tip_mm]
    marked = ids.copy()
    marked[tuple(tip.T)] = 3
    return marked


def train(task: Path, run: Path, setting: str, seed: int, budget: Budget, device: str) -> dict[str, Any]:
    """One run, as a row of the results."""
    shutil.rmtree(run, ignore_errors=True)  # of a run that was killed
    own = () if setting == "default" else tuple(setting.split())
    result = medseg.train(
        task,
        run,
        config="fast",
        fold="all",
        max_minutes=budget.minutes,
        overrides=(*BASE, *budget.overrides, f"schedule.seed={seed}", *own),
        device=device,
    )
    held_back = result.scores["held_back"]
    names = result.plan.scored
    dice = {name: [case.dice[number] for case in held_back] for number, name in names.items()}
    steps = result.bundle.training["steps"]
    shutil.rmtree(run)
    return {"setting": setting, "seed": seed, "budget": asdict(budget), "steps": steps, "dice": dice}


def read(results: Path) -> list[dict[str, Any]]:
    """Finished runs; a line that a killed process left half written is none."""
    if not results.is_file():
        return []
    lines = results.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def _is(row: dict[str, Any], setting: str, seed: int, budget: Budget) -> bool:
    return (row["setting"], row["seed"], row["budget"]) == (setting, seed, asdict(budget))


def table(rows: Sequence[dict[str, Any]], settings: Iterable[str]) -> list[str]:
    """Markdown: mean and standard deviation over the seeds of the mean Dice over the held-back cases."""
    others = [name for name in NAMES.values() if name not in ("background", RARE)]
    columns = ["setting", "seeds", "steps", f"Dice {RARE}", f"{RARE} missed", *(f"Dice {n}" for n in others)]
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for setting in settings:
        runs = [row for row in rows if row["setting"] == setting]
        if not runs:
            continue
        rare = [value for row in runs for value in row["dice"][RARE]]
        cells = [
            f"`{setting}`",
            str(len(runs)),
            f"{np.mean([row['steps'] for row in runs]):.0f}",
            over_seeds(runs, RARE),
            f"{rare.count(0.0)} of {len(rare)}",
            *(over_seeds(runs, name) for name in others),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def over_seeds(runs: Sequence[dict[str, Any]], name: str) -> str:
    """Mean and, of several runs, standard deviation."""
    means = [np.mean([value for value in row["dice"][name] if value is not None]) for row in runs]
    spread = f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
    return f"{np.mean(means):.4f}{spread}"


if __name__ == "__main__":
    main()
