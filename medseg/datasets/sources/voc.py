"""PASCAL VOC segmentation: JPEGImages beside SegmentationClass, palette PNGs whose indices are the classes.

Source of the layout: the VOC2012 development kit, section 4 "Segmentation task" (object classes 1 to 20,
background 0, and 255 for void: borders and objects that are hard to tell, which count for nothing).
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
from medseg.errors import InputRefused
from medseg.labels import LabelSet

VOID = 255
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def is_year(path: Path) -> bool:
    """Whether the folder itself has the pictures and their labels."""
    return (path / "SegmentationClass").is_dir() and (path / "JPEGImages").is_dir()


def years(path: Path) -> list[Path]:
    """The folders with JPEGImages and SegmentationClass: ``path``, and those of VOC years below it."""
    places = [path, *sorted(path.glob("VOC*")), *sorted(path.glob("VOCdevkit/VOC*"))]
    return [place for place in places if is_year(place)]


def home(path: Path) -> Path | None:
    """The folder with JPEGImages and SegmentationClass: ``path``, or the one VOC year below it."""
    found = years(path)
    if len(found) > 1:
        raise InputRefused(
            f"{path}: several years ({', '.join(p.name for p in found)}): name the folder of one",
            code="several-datasets",
            path=path,
        )
    return found[0] if found else None


def survey(path: Path, _: SourceOptions) -> Survey:
    """The pictures that have class labels: all of SegmentationClass.

    Those that ImageSets/Segmentation names and that have none are problems.
    """
    root = home(path)
    if root is None:
        raise InputRefused(
            f"{path}: expected JPEGImages/ and SegmentationClass/", code="unknown-layout", path=path
        )
    labels = {file.stem: file for file in sorted((root / "SegmentationClass").glob("*.png"))}
    problems = [
        Problem(
            "missing-file",
            name,
            f"SegmentationClass/{name}.png does not exist, {lists} names it: add it, or remove its line",
        )
        for name, lists in sorted(_named(root).items())
        if name not in labels
    ]
    cases = []
    for name, label in labels.items():
        image = root / "JPEGImages" / f"{name}.jpg"
        faults = missing_files(name, [image], root)
        problems += faults
        if not faults:
            cases.append(SourceCase(safe_name(name), (image, label), partial(read_pair, image, label)))
    classes = LabelSet.from_names(dict(enumerate(CLASSES, start=1)))
    return Survey("voc", root.name, ("",), RGB, classes, tuple(cases), VOID, tuple(problems))


def _named(root: Path) -> dict[str, str]:
    """Names of the pictures in the lists of the segmentation task, each with the list it stands in."""
    named: dict[str, str] = {}
    for kind in ("train", "val", "trainval"):
        file = root / "ImageSets" / "Segmentation" / f"{kind}.txt"
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.strip():
                    named.setdefault(line.split()[0], f"{kind}.txt")
    return named
