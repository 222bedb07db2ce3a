"""A small dataset on which a few steps of training already show."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np


def make_case(seed: int, shape: tuple[int, int, int] = (20, 26, 18)) -> tuple[np.ndarray, np.ndarray]:
    """A bright ball (label 1) beside a dark one (label 4) on grey noise."""
    generator = np.random.default_rng(seed)
    grid = np.indices(shape).astype(float)
    image = generator.normal(100, 10, shape)
    label = np.zeros(shape, np.uint8)
    for label_id, value, third in ((1, 200, 0.32), (4, 20, 0.68)):
        centre = np.array(shape) * (0.5, third, 0.5) + generator.uniform(-1.5, 1.5, 3)
        inside = ((grid - centre[:, None, None, None]) ** 2).sum(0) < 4.5**2
        image[inside] += value - 100
        label[inside] = label_id
    return image.astype(np.float32), label


def write_nifti(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, np.diag([-1.0, 1.2, 1.5, 1.0]))
    nib.save(image, path)


SMALL = (
    "patch=[16,24,16]",
    "network.features=[8,16,16]",
    "network.strides=[[1,1,1],[2,2,2],[2,2,2]]",
    "network.kernel_sizes=[]",
    "network.deep_supervision=0",
    "sampling.batch_size=2",
    "optimiser.warmup_steps=2",
    "optimiser.learning_rate=0.005",
    "schedule.checkpoint_every=4",
    "schedule.validate_every=6",
)
"""Overrides that make a 3D run a matter of a second."""


def write_decathlon(folder: Path) -> Path:
    """Ten cases in the Decathlon's layout, labels 1 and 4."""
    entries = []
    for n in range(10):
        image, label = make_case(n)
        write_nifti(folder / f"imagesTr/ball_{n:02d}.nii.gz", image)
        write_nifti(folder / f"labelsTr/ball_{n:02d}.nii.gz", label)
        entries.append(
            {"image": f"./imagesTr/ball_{n:02d}.nii.gz", "label": f"./labelsTr/ball_{n:02d}.nii.gz"}
        )
    facts = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "bright", "4": "dark"},
        "training": entries,
    }
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder
