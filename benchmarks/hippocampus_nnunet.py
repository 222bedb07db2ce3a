"""nnU-Net's own trainer on the hippocampus task, its schedule scaled to so many minutes.

Its fingerprint, plan, preprocessing, network, augmentation, loss and optimiser as they are; its learning
rate (1 - t)^0.9 with t the share of the time. Planning and preprocessing are done once and are not counted.
Every fifth case of the sorted list is held back, and all others train; Dice on the former, as JSON. nnU-Net's
own test-time mirroring is used. ``--batch`` replaces its plan's 9 patches per step, of which two cores make
few steps in minutes.

    python benchmarks/hippocampus_nnunet.py DATASET WORK OUT.json --minutes 10 [--seed 0] [--batch 2]
        [--device cpu]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

NAME = "Dataset004_Hippocampus"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path, help="for raw and preprocessed data; kept for the next seed")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, help="patches per step; default its plan's")
    args = parser.parse_args()
    for name in ("raw", "preprocessed", "results"):
        (args.work / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(args.work / name)
    held_back = prepare(args.dataset, args.work)
    random.seed(args.seed)
    np.random.seed(args.seed)  # noqa: NPY002 - what nnU-Net draws from
    torch.manual_seed(args.seed)
    trainer, steps = train(args.work, args.minutes * 60, torch.device(args.device), args.batch)
    dice = score(trainer, args.dataset, held_back, args.work)
    text = json.dumps({"steps": steps, "minutes": args.minutes, "dice": dice}, indent=1)
    args.out.write_text(text, encoding="utf-8")


def prepare(dataset: Path, work: Path) -> list[str]:
    """nnU-Net's raw folder of the training cases, planned and preprocessed; the held-back cases' names."""
    cases = [path.name.removesuffix(".nii.gz") for path in sorted((dataset / "labelsTr").glob("*.nii.gz"))]
    held_back = [case for number, case in enumerate(cases, 1) if number % 5 == 0]
    done = work / "preprocessed" / NAME / "prepared"
    if done.is_file():
        return held_back
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    raw = work / "raw" / NAME
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True, exist_ok=True)
    training = [case for case in cases if case not in held_back]
    for case in training:
        shutil.copy(dataset / f"imagesTr/{case}.nii.gz", raw / f"imagesTr/{case}_0000.nii.gz")
        shutil.copy(dataset / f"labelsTr/{case}.nii.gz", raw / f"labelsTr/{case}.nii.gz")
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    facts = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": len(training)}
    (raw / "dataset.json").write_text(json.dumps({**facts, "file_ending": ".nii.gz"}), encoding="utf-8")
    api.extract_fingerprints([4], num_processes=2)
    api.plan_experiments([4])
    api.preprocess([4], configurations=("3d_fullres",), num_processes=[2])
    done.write_text("complete\n", encoding="utf-8")
    return held_back


def train(work: Path, seconds: float, device: torch.device, batch: int | None) -> tuple[Any, int]:
    """The trainer when the time is up, and how many steps it made."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    folder = work / "preprocessed" / NAME
    plans, facts = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("nnUNetPlans.json", "dataset.json")
    )
    plans["continue_training"] = False
    if batch is not None:
        plans["configurations"]["3d_fullres"]["batch_size"] = batch
    trainer = nnUNetTrainer(plans, "3d_fullres", "all", facts, device)
    trainer.disable_checkpointing = True
    started, steps = time.monotonic(), 0
    trainer.on_train_start()
    trainer.network.train()
    while (share := (time.monotonic() - started) / seconds) < 1:
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - share) ** 0.9
        trainer.train_step(next(trainer.dataloader_train))
        steps += 1
    trainer.on_train_end()
    return trainer, steps


def score(trainer: Any, dataset: Path, held_back: list[str], work: Path) -> dict[str, float]:
    """Mean Dice over both labels of each held-back case, on the scan's own grid."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(device=trainer.device, perform_everything_on_device=False, allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    predicted = work / "predicted"
    predicted.mkdir(exist_ok=True)
    images = [[str(dataset / f"imagesTr/{case}.nii.gz")] for case in held_back]
    predictor.predict_from_files_sequential(images, [str(predicted / case) for case in held_back])
    dice = {}
    for case in held_back:
        found = np.asarray(nib.load(predicted / f"{case}.nii.gz").dataobj)
        reference = np.asarray(nib.load(dataset / f"labelsTr/{case}.nii.gz").dataobj)
        both = []
        for label in (1, 2):
            ours, theirs = found == label, reference == label
            both.append(2 * float((ours & theirs).sum()) / float(ours.sum() + theirs.sum()))
        dice[case] = float(np.mean(both))
    return dice


if __name__ == "__main__":
    main()
