"""images/ beside labels/, one file of one name in each."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.datasets.dataset import Case, Dataset, make_dataset
from medseg.datasets.layouts.facts import read_json, read_labels_of
from medseg.errors import InputRefused
from medseg.io import files

_CHANNEL = re.compile(r"_\d{4}$")  # nnU-Net's ending of a case's second, third ... image


def read_folders(path: Path) -> Dataset:
    """Pairs by name, names of labels in labels.json."""
    by_stem = {
        _case_of(image): image
        for image in sorted((path / "images").iterdir())
        if image.name.endswith(files.EXTENSIONS)
    }
    cases, orphans = [], []
    for label in sorted((path / "labels").iterdir()):
        if not label.name.endswith(files.EXTENSIONS):
            continue
        case = files.stem(label)
        if case in by_stem:
            cases.append(Case(case, (by_stem[case],), label))
        else:
            orphans.append(label.name)
    ids = {case.id for case in cases}
    further = [
        image.name
        for stem, image in by_stem.items()
        if _CHANNEL.search(stem) and stem not in ids and _CHANNEL.sub("", stem) in ids
    ]
    faults = []
    if further:
        text = (
            f"images/ holds further channels ({', '.join(further)}), this layout has one file per case: use "
            f"a CSV list with columns image_<channel>, or an nnU-Net v2 folder"
        )
        faults.append(("further-channels", text))
    if orphans:
        text = (
            f"no image in images/ has the name of these labels: {', '.join(orphans)}: name both alike, e.g. "
            f"images/case1.nii.gz and labels/case1.nii.gz"
        )
        faults.append(("label-without-image", text))
    if faults:
        raise InputRefused(
            f"{path}: " + "; ".join(text for _, text in faults), code=faults[0][0], path=path, reasons=faults
        )
    names = path / "labels.json"
    labels, ignored = read_labels_of(read_json(names) if names.is_file() else None, path)
    return make_dataset(path, "folders", ("image",), (None,), labels, cases, ignored)


def _case_of(image: Path) -> str:
    return files.stem(image).removesuffix("_0000")
