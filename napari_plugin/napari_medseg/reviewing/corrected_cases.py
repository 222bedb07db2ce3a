"""Corrected cases as a training dataset: a folder in nnU-Net's v2 layout, which ``medseg train`` reads.

``imagesTr/<case>_0000.nii.gz`` (one file per channel), ``labelsTr/<case>.nii.gz``, and ``dataset.json`` with
the names. Every file appears whole. A case counts once its label file is there, and that is written last.
Rejected cases wait in ``rejected/``, where no training finds them.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import medseg
from medseg import LabelSet, UsageError, Volume
from medseg.io.files import atomic_output, extension, temporary_path, write_text
from napari_medseg.recovery.provenance import provenance_path, read_json

_ENDING = ".nii.gz"
_LABELS, _IMAGES, _REJECTED = "labelsTr", "imagesTr", "rejected"


def label_path(folder: Path, case: str) -> Path:
    """Where a corrected case's labels go."""
    return folder / _LABELS / f"{case}{_ENDING}"


def existing_labels(folder: Path, case: str) -> Path | None:
    """A corrected case's labels, rejected ones too; None if it was not corrected."""
    candidates = (label_path(folder, case), folder / _REJECTED / f"{case}{_ENDING}")
    return next((path for path in candidates if path.is_file()), None)


def prepare(
    folder: Path, case: str, images: Sequence[tuple[str, Path]], labels: LabelSet, scan: Volume | None = None
) -> Path:
    """Put a case's images and names into the dataset; returns where its label file has to go.

    Parameters
    ----------
    folder
        The dataset; made if it is not there.
    images
        Channels and their files. A ``.nii.gz`` file gets a second name (a hard link), or is copied where the
        system cannot link; anything else is written as ``.nii.gz``.
    labels
        Names, which have to agree with those of the cases before.
    scan
        The scan as it was opened, for what is not ``.nii.gz``: a DICOM series, perhaps with repairs that were
        allowed. None reads it again.

    Raises
    ------
    UsageError
        No image, another number of channels than the cases before, or a label that is called otherwise there.
    """
    if not images:
        raise UsageError(f"case {case!r}: its scan was not found, so it cannot become a training case")
    known = read_json(folder / "dataset.json")
    facts = _dataset(known, case, images, labels)
    for name in (_IMAGES, _LABELS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    target = label_path(folder, case)
    count = len(set((folder / _LABELS).glob(f"*{_ENDING}")) | {target})
    _write_facts(folder, facts, count)
    for number, (_, image) in enumerate(images):
        _store(image, folder / _IMAGES / f"{case}_{number:04d}{_ENDING}", scan if len(images) == 1 else None)
    return target


def set_aside(folder: Path, case: str) -> None:
    """Take a case out of the dataset; nothing is lost, and `bring_back` undoes it."""
    (folder / _REJECTED).mkdir(parents=True, exist_ok=True)
    _move(folder, case, folder / _LABELS, folder / _REJECTED)


def bring_back(folder: Path, case: str) -> None:
    """Let a case count again that was set aside; nothing happens to any other."""
    _move(folder, case, folder / _REJECTED, folder / _LABELS)


def _move(folder: Path, case: str, source: Path, target: Path) -> None:
    labels = source / f"{case}{_ENDING}"
    if not labels.is_file():
        return
    labels.replace(target / labels.name)
    if provenance_path(labels).is_file():
        provenance_path(labels).replace(target / provenance_path(labels).name)
    facts = read_json(folder / "dataset.json")
    if facts is not None:
        _write_facts(folder, facts, len(list((folder / _LABELS).glob(f"*{_ENDING}"))))


def _dataset(
    known: dict[str, Any] | None, case: str, images: Sequence[tuple[str, Path]], labels: LabelSet
) -> dict[str, Any]:
    """The content of ``dataset.json`` with this case's names in it."""
    if known is None:
        channels = {str(n): name or "image" for n, (name, _) in enumerate(images)}
        known = {"channel_names": channels, "labels": {labels.background: 0}, "file_ending": _ENDING}
    expected = len(known["channel_names"])
    if len(images) != expected:
        raise UsageError(
            f"case {case!r} has {len(images)} channels, the cases before have {expected}: a dataset has one "
            "number of channels, review them in separate folders"
        )
    by_name: dict[str, int] = dict(known["labels"])
    by_id = {number: name for name, number in by_name.items()}
    for label in labels:
        if by_id.get(label.id, label.name) != label.name or by_name.get(label.name, label.id) != label.id:
            other = by_id.get(label.id) or f"number {by_name[label.name]}"
            raise UsageError(
                f"case {case!r}: label {label.id} is {label.name!r}, in the cases before it is {other!r}: "
                "a number has one meaning in a dataset, rename or renumber it"
            )
        by_name[label.name] = label.id
        by_id[label.id] = label.name
    return {**known, "labels": dict(sorted(by_name.items(), key=lambda item: item[1]))}


def _write_facts(folder: Path, facts: dict[str, Any], count: int) -> None:
    text = json.dumps({**facts, "numTraining": count}, indent=1, allow_nan=False)
    write_text(folder / "dataset.json", text + "\n")


def _store(image: Path, target: Path, scan: Volume | None) -> None:
    if not image.is_file() or extension(image) != _ENDING:
        medseg.write(medseg.read(image) if scan is None else scan, target, overwrite=True)
        return
    if target.exists() and (target.samefile(image) or filecmp.cmp(image, target, shallow=False)):
        return
    temporary = temporary_path(target)
    try:
        os.link(image, temporary)
    except OSError:  # another disk, a system without links: a copy says the same, or names what is wrong
        with atomic_output(target) as copy:
            shutil.copyfile(image, copy)
    else:
        temporary.replace(target)
