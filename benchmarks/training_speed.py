"""How much of a training step is the network: steps a second of whole loops against the bare network.

``bare`` is forward, loss, backward and optimiser on one batch that lies in memory, nothing else. The other
rows train the same network with the same loss, optimiser, patch and batch, with data from:

- ``medseg``: `medseg.training.fit.fit` itself, on cached cases: patches, augmentation of the recipe
  ``hippocampus``, weight average, clipping, log. Checkpoints and validation are not among the steps timed.
- ``MONAI``: dictionary transforms of like strength on a CacheDataset, in a DataLoader of 0 and 2 workers.
- ``nnU-Net``: its trainer's own transforms (batchgeneratorsv2), likewise.

All rows train in the order of axes that medseg trains in (channels last in 3D), so that they differ in what
is around the network alone; ``bare, contiguous`` is the bare loop in torch's own order, and with
``--compiled`` there is ``bare, compiled`` as ``schedule.compile`` has it (compiling is not among the steps).

Each round runs every row once, so that all meet the same machine; medians over rounds, and ratios to
``bare``, as Markdown. On a machine with other work, compare the processor time of the rows without workers.

    python benchmarks/training_speed.py [--dimensions 2 3] [--steps 20] [--rounds 5] [--precision f32]

nnU-Net is left out where it is not installed:
    pip install --no-deps nnunetv2 batchgeneratorsv2 batchgenerators dynamic-network-architectures \\
        acvl-utils fft-conv-pytorch blosc2 ndindex && pip install httpx seaborn scikit-image requests
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from monai import transforms as mt
from monai.data import CacheDataset, list_data_collate
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from medseg.networks import build_network
from medseg.plans import Plan
from medseg.training.cache import CachedCase
from medseg.training.compiling import compiled
from medseg.training.fit import FitSettings, fit, memory_format
from medseg.training.losses import build_loss
from medseg.training.recipes import read_recipe

WARM = 3
CASES = 48
FABRIC = {"f32": "32-true", "bf16": "bf16-mixed"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 3], choices=(2, 3))
    parser.add_argument("--steps", type=int, default=20, help="timed steps of a row in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--features", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, nargs="+", help="default 40 56 40, or 192 192")
    parser.add_argument("--precision", choices=tuple(FABRIC), default="f32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compiled", action="store_true", help="one more row; needs a C++ compiler")
    parser.add_argument("--only", nargs="+", help="rows whose names begin so, beside bare")
    args = parser.parse_args()
    for dimensions in args.dimensions:
        compare(make_plan(dimensions, args), args)


def compare(plan: Plan, args: argparse.Namespace) -> None:
    rows, missing = rows_of(plan, args)
    if args.only:
        rows = {n: row for n, row in rows.items() if n == "bare" or n.startswith(tuple(args.only))}
    rates: dict[str, list[float]] = {name: [] for name in rows}
    spent: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(args.rounds):
        for name, row in rows.items():
            wall, processor = row()
            rates[name].append(args.steps / wall)
            spent[name].append(processor / args.steps)
    patch = "x".join(map(str, plan.patch))
    print(f"\n{plan.dimensions}D, patch {patch}, batch {args.batch}, features {args.features}, ", end="")
    print(f"{args.precision}, {args.device}, {torch.get_num_threads()} threads, {args.rounds} rounds\n")
    print("| loop | steps/s | of bare | processor s/step, workers apart |\n| --- | --- | --- | --- |")
    for name in rows:
        share = median(r / bare for r, bare in zip(rates[name], rates["bare"], strict=True))
        print(f"| {name} | {median(rates[name]):.2f} | {share:.3f} | {median(spent[name]):.3f} |")
    for name, reason in missing.items():
        print(f"| {name} | left out: {reason} | | |")


def make_plan(dimensions: int, args: argparse.Namespace) -> Plan:
    """The recipe's augmentation on a plain U-Net."""
    augmentation = dict(read_recipe("hippocampus")["augmentation"])
    if dimensions == 2:
        augmentation |= {"rotation_degrees": (20.0,), "flip_axes": (0, 1)}
    stages = len(args.features)
    return Plan.checked(
        {
            "name": "speed",
            "dimensions": dimensions,
            "channels": [{"name": "x"}],
            "labels": [{"id": n, "name": f"label {n}", "colour": (0, 0, 0)} for n in (1, 2)],
            "grid": {"orientation": None},
            "patch": args.patch or ((192, 192) if dimensions == 2 else (40, 56, 40)),
            "network": {
                "features": args.features,
                "strides": [[1] * dimensions] + [[2] * dimensions] * (stages - 1),
                "deep_supervision": min(2, stages - 2),
            },
            "sampling": {"batch_size": args.batch},
            "augmentation": augmentation,
            "schedule": {
                "steps": WARM + args.steps,
                "validate_every": 10**6,
                "checkpoint_every": 10**6,
            },
        }
    )


Row = Callable[[], tuple[float, float]]


def rows_of(plan: Plan, args: argparse.Namespace) -> tuple[dict[str, Row], dict[str, str]]:
    """Rows by name, each giving wall and processor seconds of the timed steps; and what is missing, why."""
    cases = make_cases(plan)
    resident = next(loaded(monai_data(plan, cases), plan, 0))

    def forever() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield resident

    rows: dict[str, Row] = {
        "bare": lambda: timed(plan, args, forever()),
        "bare, contiguous": lambda: timed(plan, args, forever(), torch.contiguous_format),
        "medseg": lambda: timed_fit(plan, args, cases),
    }
    if args.compiled:
        rows["bare, compiled"] = lambda: timed(plan, args, forever(), prepare=compiled)
    data = monai_data(plan, cases)
    for workers in (0, 2):
        rows[f"MONAI, {workers} workers"] = lambda n=workers: timed(plan, args, loaded(data, plan, n))
    try:
        theirs = NnunetData(plan, cases)
    except ImportError as error:
        return rows, {"nnU-Net": f"{error}; see the head of this file"}
    for workers in (0, 2):
        rows[f"nnU-Net, {workers} workers"] = lambda n=workers: timed(plan, args, loaded(theirs, plan, n))
    return rows, {}


def make_cases(plan: Plan) -> list[CachedCase]:
    """Noise with two boxes in it; somewhat smaller than the patch is read in 3D, larger in 2D."""
    shape = (260, 300, 1) if plan.dimensions == 2 else (44, 60, 44)
    classes = np.zeros(shape, np.uint8)
    for index, part in ((1, slice(10, 20)), (2, slice(24, 30))):
        classes[part, 20:40, 0 if plan.dimensions == 2 else slice(10, 30)] = index
    places = {index: np.argwhere(classes == index).astype(np.int32) for index in (1, 2)}
    draw = np.random.default_rng(0)
    return [
        CachedCase(f"{n}", draw.normal(size=(1, *shape)).astype(np.float32), classes, places)
        for n in range(CASES)
    ]


def timed(
    plan: Plan,
    args: argparse.Namespace,
    batches: Iterator[tuple[Tensor, Tensor]],
    layout: torch.memory_format | None = None,
    prepare: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> tuple[float, float]:
    """The plain loop over batches from anywhere."""
    torch.manual_seed(0)
    device = torch.device(args.device)
    layout = layout or memory_format(plan, device)
    network, loss_of = build_network(plan).to(device, memory_format=layout), build_loss(plan)
    network = prepare(network)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2, fused=True)
    half = args.precision == "bf16"
    started, used = 0.0, 0.0
    for step in range(WARM + args.steps):
        if step == WARM:
            wait(args.device)
            started, used = time.perf_counter(), time.process_time()
        images, classes = (part.to(device, non_blocking=True) for part in next(batches))
        images = images.contiguous(memory_format=layout)
        with torch.autocast(args.device, torch.bfloat16) if half else nullcontext():
            logits = network(images)
        loss_of(logits, classes, step / (WARM + args.steps)).backward()
        optimiser.step()
        optimiser.zero_grad()
    wait(args.device)
    return time.perf_counter() - started, time.process_time() - used


def timed_fit(plan: Plan, args: argparse.Namespace, cases: list[CachedCase]) -> tuple[float, float]:
    """medseg's own loop, timed from the end of the warming steps to the end of the last step."""
    marks: list[tuple[float, float]] = []
    fabric = Fabric(accelerator=args.device, devices=1, precision=FABRIC[args.precision])
    with tempfile.TemporaryDirectory() as run:
        settings = FitSettings(Path(run), None, resume=False)
        fit(
            fabric,
            plan,
            cases,
            [],
            settings,
            lambda _: marks.append((time.perf_counter(), time.process_time())),
        )
    return marks[-1][0] - marks[WARM - 1][0], marks[-1][1] - marks[WARM - 1][1]


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def loaded(data: Dataset[Any], plan: Plan, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a data set of pairs, over and over, from a DataLoader as people write it."""
    loader = DataLoader(
        data,
        plan.sampling.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        collate_fn=list_data_collate if isinstance(data, CacheDataset) else None,
    )
    while True:
        for batch in loader:
            monai = isinstance(batch, dict)
            parts = (batch["image"].as_tensor(), batch["label"].as_tensor()) if monai else batch
            images, classes = parts
            yield images, classes[:, 0].long()


def monai_data(plan: Plan, cases: list[CachedCase]) -> Dataset[Any]:
    """Dictionary transforms as MONAI's tutorials chain them, of the recipe's strength."""
    how, both, chance = plan.augmentation, ["image", "label"], plan.augmentation.intensity_probability
    dimensions = plan.dimensions
    angle = [math.radians(a) for a in how.rotation_degrees]
    steps = [
        mt.SpatialPadd(both, plan.patch),
        mt.RandCropByPosNegLabeld(both, "label", plan.patch, pos=1, neg=2, num_samples=1),
        mt.RandAffined(
            both, prob=how.spatial_probability, rotate_range=angle, scale_range=[0.2] * dimensions,
            translate_range=[how.translation_voxels] * dimensions, mode=("bilinear", "nearest"),
            padding_mode="zeros",
        ),
        *(mt.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in how.flip_axes),
        mt.RandGaussianNoised("image", prob=chance, std=how.noise),
        mt.RandGaussianSmoothd("image", *[(0.3, how.blur_voxels)] * 3, prob=chance),
        mt.RandShiftIntensityd("image", offsets=how.brightness, prob=chance),
        mt.RandScaleIntensityd("image", factors=0.3, prob=chance),
        mt.RandSimulateLowResolutiond(
            "image", prob=chance, zoom_range=(0.5, 1.0),
            upsample_mode="bilinear" if dimensions == 2 else "trilinear",
        ),
        mt.RandBiasFieldd("image", prob=chance, coeff_range=(0.0, 0.2)),
        mt.RandAdjustContrastd("image", prob=chance, gamma=how.gamma),
    ]  # fmt: skip
    items = []
    for case in cases:
        flat = (
            (case.image[..., 0], case.classes[None, ..., 0])
            if dimensions == 2
            else (case.image, case.classes[None])
        )
        items.append({"image": torch.from_numpy(flat[0]), "label": torch.from_numpy(flat[1])})
    return CacheDataset(items, mt.Compose(steps), progress=False)


class NnunetData(Dataset[Any]):
    """Patches of nnU-Net's size for augmentation, through its trainer's own training transforms."""

    def __init__(self, plan: Plan, cases: list[CachedCase]) -> None:
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        angle = math.radians(30.0 if plan.dimensions == 3 else 180.0)
        self._transforms = nnUNetTrainer.get_training_transforms(
            plan.patch, (-angle, angle), None, tuple(range(plan.dimensions)), False, [False]
        )
        # As in nnU-Net, larger than the patch, so that turned corners show tissue.
        self._size = [round(1.3 * n) for n in plan.patch]
        self._pairs = []
        for case in cases:
            image, classes = case.image[0], case.classes.astype(np.int16)
            pair = (image[..., 0], classes[..., 0]) if plan.dimensions == 2 else (image, classes)
            short = [max(0, n - s) for n, s in zip(self._size, pair[0].shape, strict=True)]
            around = [(n // 2, n - n // 2) for n in short]
            self._pairs.append([torch.from_numpy(np.pad(part, around)) for part in pair])

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        shape = self._pairs[number][0].shape
        starts = [int(torch.randint(s - n + 1, ())) for s, n in zip(shape, self._size, strict=True)]
        inside = tuple(slice(f, f + n) for f, n in zip(starts, self._size, strict=True))
        image, classes = (part[inside][None] for part in self._pairs[number])
        done = self._transforms(image=image, segmentation=classes)
        return done["image"], done["segmentation"]


if __name__ == "__main__":
    main()
