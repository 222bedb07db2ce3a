"""Builds the bundle of the built-in model `brain` from trained weights.

    medseg train DATASET -o run -c brain --fold all
    python scripts/make_brain.py DATASET run/checkpoints/best.pt OUT --facts facts.json [--scores SCORES]

`medseg train` ends in a bundle as well; this one adds what needs whole made scans of maps that were kept out:
a scope fitted to many contrasts, plausible anatomy, scores of benchmarks/brain_scores.py, and the quality
estimates that follow from them. Without --scores a bundle to be scored is written; run it twice.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medseg
from medseg.datasets import read_dataset
from medseg.models import Quality, save_bundle
from medseg.networks import build_network, load_tensors
from medseg.plans import Plan
from medseg.quality import fit_quality
from medseg.training.export import half_precision, model_card
from medseg.training.onnx_export import onnx_builder
from medseg.training.splits import split
from medseg.training.synthesis.scope import fit_synthetic_scope

WINDOW = (192, 144, 128)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("weights", type=Path, help="a checkpoint with `model`, a state dict")
    parser.add_argument("out", type=Path)
    parser.add_argument("--facts", type=Path, required=True, help="JSON: steps, minutes, device, precision")
    parser.add_argument("--scores", type=Path, help="what benchmarks/brain_scores.py wrote")
    parser.add_argument("--scope-scans", type=int, default=156, help="made scans to fit the scope to")
    args = parser.parse_args()
    plan = medseg.plan(args.dataset, config="brain")
    trained = plan.patch
    # Windows of which four cover a head: less is computed twice, and none needs more than 4 GB.
    plan = plan.model_copy(update={"patch": WINDOW})
    parts = split(read_dataset(args.dataset).cases, "all", plan.hold_back_every)
    network = build_network(plan)
    network.load_state_dict(torch.load(args.weights, map_location="cpu", weights_only=True)["model"])
    tensors = half_precision(network)
    load_tensors(network, {name: value.astype(np.float32) for name, value in tensors.items()})
    rows = [] if args.scores is None else [json.loads(x) for x in args.scores.read_text().splitlines()]
    training = {
        "dataset": args.dataset.resolve().name,
        "fold": "all",
        "cases_trained_on": len(parts.training),
        "cases_validated_on": 0,
        "cases_held_back": len(parts.held_back),
        "batch_size": plan.sampling.batch_size,
        "patch": list(trained),
        **json.loads(args.facts.read_text()),
    }
    scores = {"made_scans": summary(rows, plan)} if rows else {}
    bundle = save_bundle(
        args.out,
        plan=plan,
        weights=tensors,
        build_onnx=onnx_builder(network, plan, tensors),
        scope=fit_synthetic_scope(
            (medseg.read_labels(case.label) for case in parts.training),
            plan,
            plan.card.description,
            count=args.scope_scans,
        ),
        precision="f32",
        execution={"overlap": plan.inference.overlap, "batch_size": 1},
        training=training,
        scores=scores,
        card=model_card(plan, training, scores),
        licence=plan.card.licence.rstrip() + "\n",
        quality=quality_of(rows) if rows else None,
    )
    size = sum(file.stat().st_size for file in bundle.path.rglob("*") if file.is_file())
    sys.stdout.write(f"{bundle.path}: {size / 1e6:.1f} MB\n")


def summary(rows: list[dict[str, Any]], plan: Plan) -> dict[str, Any]:
    """Mean Dice of the scans that are as they should be, over all structures and for each."""
    rows = [row for row in rows if row["degraded"] is None and row["slices"] == "axial"]
    means = [np.mean([v for v in row["dice"].values() if v is not None]) for row in rows]
    by_label = {
        label.name: [row["dice"][str(label.id)] for row in rows if row["dice"][str(label.id)] is not None]
        for label in plan.label_set
    }
    return {
        "cases": len(rows),
        "mean_dice": round(float(np.mean(means)), 5),
        "std_dice": round(float(np.std(means, ddof=1)), 5),
        "dice": {name: round(float(np.mean(values)), 5) for name, values in by_label.items()},
    }


def quality_of(rows: list[dict[str, Any]]) -> Quality:
    """What the network's confidence says of Dice, from scans of maps that were kept out."""
    by_id = [
        ({int(i): v for i, v in row["confidence"].items()}, {int(i): v for i, v in row["dice"].items()})
        for row in rows
    ]
    return fit_quality(
        [raw for raw, _ in by_id],
        [dice for _, dice in by_id],
        data=f"{len(rows)} made scans of held-back label maps, some of them bad on purpose",
        ordinary=[row["degraded"] is None for row in rows],
    )


if __name__ == "__main__":
    main()
