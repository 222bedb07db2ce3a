"""S3DIS: rooms as points (x y z red green blue, metres), one file of points per object.

Source of the layout: the Stanford 3D Indoor Scene data set v1.2, Area_N/<room>/<room>.txt with
Area_N/<room>/Annotations/<class>_<number>.txt; classes as in PointNet's sem_seg/meta/class_names.txt, where
``stairs`` counts as clutter.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.datasets.sources.points import Voxels, gather, read_points
from medseg.datasets.sources.survey import (
    Example,
    Problem,
    SourceCase,
    SourceOptions,
    Survey,
    missing_files,
    safe_name,
)
from medseg.errors import InputRefused, UsageError
from medseg.labels import LabelSet

CLASSES = (
    "ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa", "bookcase",
    "board", "clutter",
)  # fmt: skip
_IDS = {**{name: n for n, name in enumerate(CLASSES, start=1)}, "stairs": len(CLASSES)}
CHANNELS = ("occupied", "red", "green", "blue")
_MM = 1000.0
_LABELS = LabelSet.from_names({0: "empty", **dict(enumerate(CLASSES, start=1))})


def rooms(path: Path) -> list[Path]:
    """The rooms below a folder: of one area, or of several."""
    return sorted({found.parent for found in (*path.glob("*/Annotations"), *path.glob("*/*/Annotations"))})


def is_area(path: Path) -> bool:
    """Whether the folder has rooms in it, without a look into those."""
    return next(path.glob("*/Annotations"), None) is not None


def survey(path: Path, options: SourceOptions) -> Survey:
    """A case per room. An object of no known class is a problem that names its file."""
    if not options.voxel_mm >= 1.0:
        raise UsageError(f"a voxel of {options.voxel_mm:g} mm: expected at least 1 mm")
    cases, problems = [], []
    for room in rooms(path):
        objects = sorted((room / "Annotations").glob("*.txt"))
        area = room.parent.name if room.parent != path or room.parent.name.startswith("Area") else ""
        name = safe_name(f"{area}_{room.name}" if area else room.name)
        whole = room / f"{room.name}.txt"
        faults = missing_files(name, [whole], path)
        faults += [
            Problem("unknown-labels", name, f"{file.name}: no class of S3DIS ({', '.join(CLASSES)})")
            for file in objects
            if _class_of(file) is None
        ]
        if not objects:
            faults.append(Problem("missing-file", name, "Annotations/ holds no object"))
        problems += faults
        if not faults:
            read = partial(_read, whole, tuple(objects), options.voxel_mm)
            cases.append(SourceCase(name, (whole, *objects), read, part=f"{options.voxel_mm:g} mm"))
    text = f"points gathered in voxels of {options.voxel_mm:g} mm: mean colour, most frequent class"
    return Survey(
        "s3dis",
        path.resolve().name,
        CHANNELS,
        CHANNELS,
        _LABELS,
        tuple(cases),
        problems=tuple(problems),
        notes=(Problem("voxelised", "all rooms", text),),
    )


def _class_of(file: Path) -> int | None:
    return _IDS.get(file.stem.rpartition("_")[0].lower())


def _read(whole: Path, objects: tuple[Path, ...], voxel_mm: float) -> Example:
    """A room's labelled volume from its objects, whose points have to be all of the room's."""
    parts: list[tuple[int, NDArray[np.float64]]] = []
    for file in objects:
        label_id = _class_of(file)
        assert label_id is not None  # the survey has refused the others
        parts.append((label_id, read_points(file)))
    expected, found = len(read_points(whole)), sum(len(points) for _, points in parts)
    if expected != found:
        raise InputRefused(
            f"{whole.name}: {expected} points, its objects have {found}: expected the same points; "
            f"download the room again",
            code="points-differ",
            path=whole,
        )
    voxels: Voxels = gather(parts, voxel_mm / _MM, whole)
    return voxels.example(voxel_mm, _LABELS, whole)
