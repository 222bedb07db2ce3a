"""The plain baseline for the hippocampus task: MONAI alone, no medseg.

A U-Net of 16 to 128 channels, 3,000 steps of batch 4, Dice + cross-entropy, AdamW with a cosine, affine
and intensity augmentation, on the same 160 cases; then Dice on the 40 held back (every fifth case of the
sorted list), as JSON that ``hippocampus_compare.py`` reads.

    python benchmarks/hippocampus_baseline.py DATASET OUT.json [--steps 3000] [--precision bf16]
    python benchmarks/hippocampus_baseline.py DATASET OUT.json --minutes 10 [--seed 0] [--device cpu]

With ``--minutes`` the cosine follows the clock, and there are as many steps as the time allows.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    RandAffined,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
    ResizeWithPadOrCropd,
)
from monai.utils import set_determinism

PATCH = (40, 56, 40)
BOTH = ["image", "label"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--minutes", type=float, help="instead of steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="bf16")
    args = parser.parse_args()

    training, held_back = split(args.dataset)
    set_determinism(args.seed)
    network = DynUNet(
        3, 1, 3, [3] * 4, [1, 2, 2, 2], [2, 2, 2],
        filters=[16, 32, 64, 128], norm_name=("INSTANCE", {"affine": True}),
    ).to(args.device)  # fmt: skip
    started = time.monotonic()
    steps = fit(network, training, args)
    minutes = (time.monotonic() - started) / 60
    dice = {Path(case["label"]).name.removesuffix(".nii.gz"): score(network, case) for case in held_back}
    mean = float(np.mean(list(dice.values())))
    args.out.write_text(
        json.dumps(
            {
                "steps": steps,
                "minutes": minutes,
                "precision": args.precision,
                "mean_dice": mean,
                "dice": dice,
            },
            indent=1,
        )
    )
    print(f"{len(held_back)} held-back cases: mean Dice {mean:.4f}, {steps} steps, {minutes:.1f} minutes")


def split(dataset: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Training cases and the 5th, 10th, ... of the sorted list."""
    labels = sorted((dataset / "labelsTr").glob("*.nii.gz"))
    cases = [{"image": str(dataset / "imagesTr" / label.name), "label": str(label)} for label in labels]
    return [c for n, c in enumerate(cases, 1) if n % 5], [c for n, c in enumerate(cases, 1) if n % 5 == 0]


def fit(network: torch.nn.Module, cases: list[dict[str, str]], args: argparse.Namespace) -> int:
    """Train, and say how many steps there were."""
    transforms = Compose(
        [
            LoadImaged(BOTH, image_only=True),
            EnsureChannelFirstd(BOTH),
            NormalizeIntensityd("image"),
            ResizeWithPadOrCropd(BOTH, PATCH),
            RandAffined(
                BOTH, prob=0.5, rotate_range=[math.radians(15)] * 3, scale_range=[0.15] * 3,
                mode=("bilinear", "nearest"), padding_mode="zeros",
            ),
            RandGaussianNoised("image", prob=0.15, std=0.1),
            RandScaleIntensityd("image", factors=0.25, prob=0.3),
            RandShiftIntensityd("image", offsets=0.25, prob=0.3),
        ]
    )  # fmt: skip
    loader = DataLoader(
        CacheDataset(cases, transforms, progress=False), batch_size=args.batch, shuffle=True, drop_last=True
    )
    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    started, step = time.monotonic(), 0
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda _: 0.5 * (1 + math.cos(math.pi * min(1.0, done(step, started, args))))
    )
    network.train()
    while True:
        for data in loader:
            if done(step, started, args) >= 1:
                return step
            with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
                logits = network(data["image"].as_tensor().to(args.device))
            loss = loss_of(logits.float(), data["label"].as_tensor().to(args.device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            schedule.step()
            if step % 100 == 0:
                print(f"step {step}: loss {loss.item():.4f}", flush=True)


def done(step: int, started: float, args: argparse.Namespace) -> float:
    """Share of the training that is over, by steps or by the clock."""
    if args.minutes is None:
        return float(step / args.steps)
    return (time.monotonic() - started) / (60 * args.minutes)


@torch.inference_mode()
def score(network: torch.nn.Module, case: dict[str, str]) -> float:
    """Mean Dice over both labels on the scan's own grid."""
    network.eval()
    load = Compose(
        [LoadImaged(BOTH, image_only=True), EnsureChannelFirstd(BOTH), NormalizeIntensityd("image")]
    )
    data = load(case)
    device = next(network.parameters()).device
    logits = sliding_window_inference(
        data["image"][None].as_tensor().to(device), PATCH, 4, network, overlap=0.5, mode="gaussian"
    )
    predicted, reference = logits.argmax(1)[0].cpu().numpy(), data["label"][0].numpy()
    both = [
        ((predicted == i) & (reference == i)).sum() * 2 / ((predicted == i).sum() + (reference == i).sum())
        for i in (1, 2)
    ]
    return float(np.mean(both))


if __name__ == "__main__":
    main()
