"""Cells and membranes in electron micrographs (ISBI 2012): medseg beside a plain 2D U-Net by MONAI alone.

    python benchmarks/membrane.py DATASET OUT.jsonl [--minutes 15] [--seeds 0,1,2] [--tools medseg,monai]
        [--config 2d] [--hold-back-every 6]

DATASET has images/ and labels/ (255 cell, 0 membrane). Every sixth picture of the sorted list is held back
from both; both train on all others for the same minutes, medseg's export and planning included. The plain
U-Net is that of ``membrane_baseline.py``. A JSON line is added to OUT for each tool and seed, with Dice of
the cells and of the membrane, and the foreground-restricted Rand score (``membrane_scores.py``), each the
mean over the held-back pictures; a line that is there with the same settings is not computed again. At the
end the mean and the spread over seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from membrane_baseline import predict, train
from membrane_scores import dice, rand_score
from numpy.typing import NDArray
from PIL import Image

import medseg
from medseg.datasets import Case, read_dataset
from medseg.training.splits import set_aside

SCORES = ("dice_cell", "dice_membrane", "rand")
_CELL = 255


def main() -> None:
    arguments = parser().parse_args()
    kept, held_back = set_aside(read_dataset(arguments.dataset).cases, arguments.hold_back_every)
    rows = earlier(arguments.out)
    for seed in (int(text) for text in arguments.seeds.split(",")):
        for tool in arguments.tools.split(","):
            row: dict[str, Any] = {
                "tool": tool,
                "seed": seed,
                "minutes": arguments.minutes,
                "hold_back_every": arguments.hold_back_every,
                "config": arguments.config if tool == "medseg" else None,
            }
            if any(row.items() <= line.items() for line in rows):
                continue
            started = time.monotonic()
            found = TOOLS[tool](arguments, seed, kept, held_back)
            row["seconds"] = round(time.monotonic() - started, 1)
            row |= scored(found, held_back)
            rows.append(row)
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print_table([row for row in rows if row["minutes"] == arguments.minutes])


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("dataset", type=Path)
    made.add_argument("out", type=Path)
    made.add_argument("--minutes", type=float, default=15.0)
    made.add_argument("--seeds", default="0,1,2")
    made.add_argument("--tools", default="medseg,monai")
    made.add_argument("--config", default="2d", help="medseg's recipe; empty: none")
    made.add_argument("--hold-back-every", type=int, default=6)
    made.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="for medseg's plan")
    return made


def by_medseg(
    arguments: argparse.Namespace, seed: int, _kept: tuple[Case, ...], held_back: tuple[Case, ...]
) -> list[NDArray[np.bool_]]:
    with tempfile.TemporaryDirectory() as folder:
        result = medseg.train(
            arguments.dataset,
            Path(folder) / "run",
            config=arguments.config or None,
            fold="all",
            max_minutes=arguments.minutes,
            overrides=(
                f"hold_back_every={arguments.hold_back_every}",
                f"schedule.seed={seed}",
                "schedule.steps=1000000",  # the time decides, as for the other
                *arguments.set,
            ),
        )
        cells = []
        for case in held_back:
            labels = medseg.infer(case.images[0], result.run / "bundle").labels.data
            cells.append(labels[..., 0].T == _CELL)
        return cells


def by_monai(
    arguments: argparse.Namespace, seed: int, kept: tuple[Case, ...], held_back: tuple[Case, ...]
) -> list[NDArray[np.bool_]]:
    network = train([(case.images[0], case.label) for case in kept], arguments.minutes, seed)
    return [predict(network, case.images[0]) for case in held_back]


TOOLS = {"medseg": by_medseg, "monai": by_monai}


def scored(found: list[NDArray[np.bool_]], held_back: tuple[Case, ...]) -> dict[str, float]:
    rows = []
    for cells, case in zip(found, held_back, strict=True):
        reference = np.asarray(Image.open(case.label)) == _CELL
        rows.append(
            (dice(cells, reference), dice(~cells, ~reference), rand_score(cells, reference)),
        )
    means = np.mean(rows, axis=0)
    return {name: round(float(value), 5) for name, value in zip(SCORES, means, strict=True)}


def earlier(out: Path) -> list[dict[str, Any]]:
    if not out.is_file():
        return []
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def print_table(rows: list[dict[str, Any]]) -> None:
    print("| tool | seeds | Dice, cells | Dice, membrane | Rand, foreground |")
    print("| --- | --- | --- | --- | --- |")
    for tool in dict.fromkeys(row["tool"] for row in rows):
        values = np.array([[row[name] for name in SCORES] for row in rows if row["tool"] == tool])
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(3, np.nan)
        cells = " | ".join(f"{m:.4f} ± {s:.4f}" for m, s in zip(values.mean(axis=0), spread, strict=True))
        print(f"| {tool} | {len(values)} | {cells} |")


if __name__ == "__main__":
    main()
