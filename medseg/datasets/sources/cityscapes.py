"""Cityscapes: leftImg8bit beside gtFine or gtCoarse, labels as labelIds or labelTrainIds.

Source of the layout and of the tables: cityscapesScripts, README "Dataset Structure" and
cityscapesscripts/helpers/labels.py.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from medseg.datasets.sources.pictures import RGB, read_pair
from medseg.datasets.sources.survey import (
    Problem,
    SourceCase,
    SourceOptions,
    Survey,
    missing_files,
    safe_name,
)
from medseg.errors import InputRefused, UsageError
from medseg.labels import LabelSet

# By id, from 0; every id is kept, also those that the benchmark does not count.
IDS = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road",
    "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel",
    "pole", "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider",
    "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
# By training id: 0 is road, so that the background of these label maps is the road.
TRAIN_IDS = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
IGNORED = 255
_KINDS = {"labelTrainIds": TRAIN_IDS, "labelIds": IDS}
_ASKED = {"trainIds": "labelTrainIds", "labelTrainIds": "labelTrainIds", "labelIds": "labelIds"}
_IMAGE = "_leftImg8bit.png"


def home(path: Path) -> bool:
    """Whether the folder is of Cityscapes."""
    return (path / "leftImg8bit").is_dir() and any((path / name).is_dir() for name in ("gtFine", "gtCoarse"))


def survey(path: Path, options: SourceOptions) -> Survey:
    """The pictures of ``train`` and ``val``; the labels of ``test`` are blank, so that it is left out."""
    truth = next((name for name in ("gtFine", "gtCoarse") if (path / name).is_dir()), None)
    if truth is None:
        raise InputRefused(f"{path}: expected gtFine/ or gtCoarse/", code="unknown-layout", path=path)
    kind = _kind(path / truth, options)
    cases: list[SourceCase] = []
    problems: list[Problem] = []
    blank = 0
    for image in sorted((path / "leftImg8bit").glob(f"*/*/*{_IMAGE}")):
        split, city = image.parts[-3:-1]
        if split == "test":
            blank += 1
            continue
        name = image.name.removesuffix(_IMAGE)
        label = path / truth / split / city / f"{name}_{truth}_{kind}.png"
        faults = missing_files(name, [label], path)
        problems += faults
        if not faults:
            cases.append(SourceCase(safe_name(name), (image, label), partial(read_pair, image, label)))
    notes = [Problem("test-left-out", "test", f"{blank} pictures whose labels are blank")] if blank else []
    labels = LabelSet.from_names(dict(enumerate(_KINDS[kind])))
    ignored = IGNORED if kind == "labelTrainIds" else None
    return Survey(
        "cityscapes",
        path.resolve().name,
        ("",),
        RGB,
        labels,
        tuple(cases),
        ignored,
        tuple(problems),
        tuple(notes),
    )


def _kind(truth: Path, options: SourceOptions) -> str:
    """Which label pictures: those asked for; else the training ids, where they have been made."""
    if options.target:
        asked = _ASKED.get(options.target[0])
        if asked is None or len(options.target) > 1:
            raise UsageError(
                f"target {','.join(options.target)}: Cityscapes has trainIds and labelIds: choose one"
            )
        return asked
    made = next(truth.glob("*/*/*_labelTrainIds.png"), None)
    return "labelIds" if made is None else "labelTrainIds"
