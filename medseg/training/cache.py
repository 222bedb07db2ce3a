"""Cases preprocessed once, kept as memory-mapped arrays, so that a step reads only its patches."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.datasets import Case
from medseg.errors import InputRefused
from medseg.io import files, read_labels
from medseg.plans import Plan
from medseg.preprocess import prepare, prepare_labels
from medseg.training.fingerprint import read_case
from medseg.training.synthesis.generator import Synthesiser, tissue_map

Progress = Callable[[str, int, int], None]
_LOCATIONS_PER_CLASS = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class CachedCase:
    """A preprocessed case: ``image`` float32 (C, x, y, z), ``classes`` uint8 (x, y, z), both memory-mapped,
    and for each foreground class that occurs some of its voxels, (n, 3).

    Where nobody judged, ``classes`` hold the plan's ``ignore_class``, which has no locations.

    Where the plan makes its images, ``image`` has no channel, ``classes`` are tissues (positions in
    ``plan.synthesis.tissues``), and there are no locations.
    """

    id: str
    image: NDArray[np.float32]
    classes: NDArray[np.uint8]
    locations: dict[int, NDArray[np.int32]]


def build_cache(
    cases: Sequence[Case], plan: Plan, folder: Path, progress: Progress | None = None
) -> list[CachedCase]:
    """Preprocess what is not yet in ``folder`` and open every case.

    The cache is keyed by everything that shapes it (grid, channels, labels, the files' sizes and times);
    another plan makes another cache.
    """
    opened = []
    for number, case in enumerate(cases):
        place = folder / f"{_safe(case.id)}-{_key(case, plan)}"
        if not (place / "done").is_file():
            _preprocess(case, plan, place)
        opened.append(_open(case.id, place))
        if progress is not None:
            progress("preprocess", number + 1, len(cases))
    return opened


def _preprocess(case: Case, plan: Plan, place: Path) -> None:
    try:
        image, classes = _arrays(case, plan)
    except InputRefused as error:
        raise InputRefused(f"case {case.id!r}: {error}", code=error.code, path=case.label) from error
    shutil.rmtree(place, ignore_errors=True)  # what an interrupted run left half done
    place.mkdir(parents=True)
    np.save(place / "image.npy", np.ascontiguousarray(image))
    np.save(place / "classes.npy", np.ascontiguousarray(classes))
    counted = 0 if plan.synthesis is not None else len(plan.class_ids)
    locations: dict[str, Any] = {str(c): v for c, v in _locations(classes, counted).items()}
    np.savez(place / "locations.npz", **locations)
    files.write_text(place / "done", "complete\n")


def _arrays(case: Case, plan: Plan) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    if plan.synthesis is not None:
        tissues = tissue_map(read_labels(case.label), plan)
        return np.zeros((0, *tissues.shape), np.float32), tissues
    volume, label_map = read_case(case, plan.training_labels)
    return prepare(volume, plan).data, prepare_labels(label_map, plan)


def made_cases(cases: Sequence[CachedCase], plan: Plan, each: int = 2) -> list[CachedCase]:
    """Of every case of tissues ``each`` made patches with their classes, the same ones every time."""
    made = []
    for number, case in enumerate(cases):
        synthesiser = Synthesiser([case.classes], plan, torch.device("cpu"))
        for n in range(each):
            images, classes = synthesiser.batch(number * each + n, count=1)
            made.append(
                CachedCase(f"{case.id}-{n}", images[0].numpy(), classes[0].numpy().astype(np.uint8), {})
            )
    return made


def _open(case_id: str, place: Path) -> CachedCase:
    with np.load(place / "locations.npz") as stored:
        locations = {int(name): stored[name] for name in stored.files}
    return CachedCase(
        case_id,
        np.load(place / "image.npy", mmap_mode="r"),
        np.load(place / "classes.npy", mmap_mode="r"),
        locations,
    )


def _locations(classes: NDArray[np.uint8], count: int) -> dict[int, NDArray[np.int32]]:
    generator = np.random.default_rng(0)
    found = {}
    for index in range(1, count):
        voxels = np.argwhere(classes == index).astype(np.int32)
        if len(voxels) > _LOCATIONS_PER_CLASS:
            voxels = voxels[generator.choice(len(voxels), _LOCATIONS_PER_CLASS, replace=False)]
        if len(voxels):
            found[index] = voxels
    return found


def _key(case: Case, plan: Plan) -> str:
    files = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in (*case.images, case.label)]
    shaping = plan.model_dump(mode="json", include={"dimensions", "channels", "labels", "grid"})
    if plan.ignore_label is not None:
        shaping["ignore_label"] = plan.ignore_label
    if plan.synthesis is not None:
        shaping["tissues"] = [tissue.value for tissue in plan.synthesis.tissues]
    text = json.dumps([1, files, shaping], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _safe(case_id: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in case_id)[:80]
