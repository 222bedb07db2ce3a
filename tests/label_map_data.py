"""Small label maps with tables, as a dataset of whole-head label maps has them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from medseg.plans import Plan

SPACING = (1.5, 1.2, 2.0)
# label_in_map, segmentation_label, segmentation_name, intensity_class, T1: mean, sd of means, spread, its sd
TABLE = (
    (0, 0, "background", 0, 5.0, 1.0, 3.0, 1.0),
    (16, 16, "brain-stem", 3, 130.0, 10.0, 12.0, 3.0),
    (24, 24, "csf", 1, 40.0, 8.0, 10.0, 3.0),
    (502, 0, "background", 2, 110.0, 20.0, 30.0, 8.0),
    (2, 2, "left white matter", 18, 160.0, 15.0, 8.0, 2.0),
    (17, 17, "left hippocampus", 27, 95.0, 10.0, 9.0, 2.0),
    (25, 2, "left white matter", 28, 115.0, 12.0, 15.0, 4.0),
    (41, 41, "right white matter", 18, 160.0, 15.0, 8.0, 2.0),
    (53, 53, "right hippocampus", 27, 95.0, 10.0, 9.0, 2.0),
    (57, 41, "right white matter", 28, 115.0, 12.0, 15.0, 4.0),
)
IDS = (2, 16, 17, 24, 41, 53)
# Of a whole head in FreeSurfer's numbering: left, right, intensity class.
_SIDED = {
    "cerebral white matter": (2, 41, 18),
    "cerebral cortex": (3, 42, 19),
    "lateral ventricle": (4, 43, 20),
    "inferior lateral ventricle": (5, 44, 20),
    "cerebellum white matter": (7, 46, 21),
    "cerebellum cortex": (8, 47, 22),
    "thalamus": (10, 49, 23),
    "caudate": (11, 50, 24),
    "putamen": (12, 51, 25),
    "pallidum": (13, 52, 26),
    "hippocampus": (17, 53, 27),
    "amygdala": (18, 54, 27),
    "accumbens area": (26, 58, 29),
    "ventral DC": (28, 60, 30),
}
WHOLE_HEAD = (
    (0, 0, "background", 0),
    (14, 14, "3rd ventricle", 1),
    (15, 15, "4th ventricle", 2),
    (16, 16, "brain-stem", 3),
    (24, 24, "csf", 4),
    (502, 0, "background", 7),
    *((left, left, f"left {name}", number) for name, (left, _, number) in _SIDED.items()),
    *((right, right, f"right {name}", number) for name, (_, right, number) in _SIDED.items()),
    (25, 2, "left cerebral white matter", 28),
    (57, 41, "right cerebral white matter", 28),
)

TINY = (
    "patch=[16,24,16]",
    "network.features=[4,6,8]",
    "network.strides=[[1,1,1],[2,2,2],[2,2,2]]",
    "network.deep_supervision=1",
    "sampling.batch_size=2",
    "optimiser.warmup_steps=2",
    "optimiser.learning_rate=0.01",
    "synthesis.shift_mm=4.0",
)
"""Overrides that make a run on such maps a matter of seconds."""


def make_map(seed: int, shape: tuple[int, int, int] = (24, 32, 20)) -> np.ndarray:
    """A head as boxes and an ellipsoid, indexed right, anterior, superior; unlike its mirror image."""
    generator = np.random.default_rng(seed)
    grid = np.indices(shape).astype(float)
    centre = (np.array(shape) - 1) / 2 + generator.uniform(-0.6, 0.6, 3)
    away = (grid - centre[:, None, None, None]) / np.array(shape)[:, None, None, None]
    far = np.sqrt((away**2).sum(0))
    labels = np.zeros(shape, np.uint16)
    labels[far < 0.45] = 502
    labels[far < 0.38] = 24
    brain = far < 0.33
    labels[brain] = np.where(away[0] < 0, 2, 41)[brain]
    i, j, k = (round(float(c)) for c in centre)
    labels[i - 1 : i + 1, j - 5 : j - 2, k - 6 : k - 1] = 16
    labels[i - 5 : i - 2, j - 3 : j + 3, k - 3 : k] = 17
    labels[i + 3 : i + 5, j - 2 : j + 4, k - 3 : k] = 53
    labels[i - 4 : i - 2, j + 4 : j + 6, k + 1 : k + 3] = 25
    return labels


def stored(labels: np.ndarray, orientation: str, spacing: Sequence[float] = SPACING) -> nib.Nifti1Image:
    """A map indexed right, anterior, superior as a file with other axes; every voxel keeps its place."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-17.0, 5.5, 31.25)
    image = nib.Nifti1Image(labels, affine)
    return image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(orientation)))


def write_label_maps(folder: Path, count: int = 3, orientation: str = "LIA") -> Path:
    """A dataset: ``count`` maps in a folder with ``labels.csv`` and ``t1_priors.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        nib.save(stored(make_map(number), orientation), folder / f"head_{number:02d}.nii.gz")
    write_table(folder, [row[:4] for row in TABLE])
    write_priors(folder, "t1", [(row[0], *row[4:]) for row in TABLE])
    return folder


def write_table(folder: Path, rows: Sequence[Sequence[object]]) -> None:
    """``labels.csv`` of these rows."""
    header = ("label_in_map", "segmentation_label", "segmentation_name", "intensity_class")
    _write(folder / "labels.csv", header, rows)


def write_priors(folder: Path, name: str, rows: Sequence[Sequence[object]]) -> None:
    """The table of priors of a contrast."""
    columns = [f"{name}_{what}" for what in ("mean_centre", "mean_sd", "std_centre", "std_sd")]
    _write(folder / f"{name}_priors.csv", ("label_in_map", *columns), rows)


def _write(file: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


STILL = {
    "rotation_degrees": 0.0,
    "scale": (1.0, 1.0),
    "shear": 0.0,
    "shift_mm": 0.0,
    "flip": False,
    "deformation_mm": 0.0,
    "strip_probability": 0.0,
    "crop_probability": 0.0,
    "split_probability": 0.0,
    "coarse_probability": 0.0,
    "slices_probability": 0.0,
    "bias_field": 0.0,
    "noise": 0.0,
    "gamma": 0.0,
    "spike_probability": 0.0,
    "random_weight": 0.0,
}
"""Synthesis without chance, but for contrast and point spread."""


def synthesis_plan(
    patch: tuple[int, int, int] = (16, 24, 12), spacing: tuple[float, float, float] = SPACING, **how: object
) -> Plan:
    """A plan that makes images from maps with the values of `TABLE`: `STILL`, but for what ``how`` says."""
    names = {row[1]: row[2] for row in TABLE if row[1]}
    fields = ("mean", "mean_sd", "std", "std_sd")
    priors = {row[3]: dict(zip(fields, row[4:], strict=True)) for row in TABLE}
    return Plan.checked(
        {
            "name": "made",
            "dimensions": 3,
            "channels": [{"name": "image", "normalisation": "range"}],
            "labels": [{"id": i, "name": name, "colour": (0, 0, 0)} for i, name in sorted(names.items())],
            "patch": patch,
            "grid": {"spacing_mm": spacing},
            "network": {"features": (4, 8), "strides": ((1, 1, 1), (1, 1, 1)), "deep_supervision": 0},
            "synthesis": {
                "tissues": [{"value": row[0], "segment": row[1], "intensity": row[3]} for row in TABLE],
                "contrasts": {"t1": {"priors": priors}},
                **STILL,
                **how,
            },
        }
    )
