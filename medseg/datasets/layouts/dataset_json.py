"""Folders with a dataset.json: the Decathlon's, nnU-Net's v1 and v2 raw ones, and what medseg imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.datasets.absent import folder_alike
from medseg.datasets.dataset import Case, Dataset, make_dataset
from medseg.datasets.layouts.facts import inside, read_channels, read_json, read_labels_of
from medseg.datasets.layouts.lists import dataset_of_facts
from medseg.datasets.layouts.regions import read_regions
from medseg.errors import InputRefused
from medseg.io import files


def read_dataset_json(path: Path) -> Dataset:
    """A folder whose dataset.json lists cases or channels; paths have to stay inside the folder."""
    file = path / "dataset.json"
    facts = read_json(file)
    if "cases" in facts:
        return replace(dataset_of_facts(file, facts, own_folder=True), name=path.resolve().name, path=path)
    if "channel_names" in facts:
        return _read_nnunet(path, facts)
    channels, modalities = read_channels(facts.get("modality", {"0": "image"}), path)
    labels, ignored = read_labels_of(facts.get("labels"), path)
    cases, numbered = [], False
    for image, label in _pairs(facts, path, "training"):
        images = _numbered(image, len(channels))
        numbered = numbered or images != (image,)
        cases.append(Case(files.stem(label), images, label))
    # Of the Decathlon's several modalities in one 4D file, `io` reads one at a time: an import splits them.
    layout = "nnunet" if numbered else "decathlon"
    return make_dataset(path, layout, channels, modalities, labels, cases, ignored, file)


def _pairs(facts: dict[str, Any], path: Path, key: str) -> list[tuple[Path, Path]]:
    """Paths of images and labels below a key."""
    entries = facts.get(key, [])
    bad = [
        entry
        for entry in (entries if isinstance(entries, list) else [entries])
        if not isinstance(entry, dict) or not all(isinstance(entry.get(k), str) for k in ("image", "label"))
    ]
    if bad:
        raise InputRefused(
            f"{path / 'dataset.json'}: an entry of {key!r} lacks a path 'image' or 'label': {bad[0]}",
            code="bad-dataset-json",
            path=path,
        )
    return [(inside(path, entry["image"]), inside(path, entry["label"])) for entry in entries]


def _numbered(image: Path, channels: int) -> tuple[Path, ...]:
    """A case's images: the file that is named, or with nnU-Net v1 those that end in _0000, _0001, ..."""
    ending = files.extension(image)
    stem = image.name.removesuffix(ending)
    first = image.with_name(f"{stem}_0000{ending}")
    if image.exists() or not first.exists():
        return (image,)
    return tuple(image.with_name(f"{stem}_{n:04d}{ending}") for n in range(channels))


def _read_nnunet(path: Path, facts: dict[str, Any]) -> Dataset:
    channels, modalities = read_channels(facts["channel_names"], path)
    entries, regions = read_regions(facts, path)
    labels, ignored = read_labels_of(entries, path)
    ending = str(facts.get("file_ending", ".nii.gz"))
    if ending not in files.EXTENSIONS:
        raise InputRefused(
            f"{path / 'dataset.json'}: file_ending {ending!r}: expected one of {', '.join(files.EXTENSIONS)}",
            code="bad-dataset-json",
            path=path,
        )
    folder = path / "labelsTr"
    if not folder.is_dir():
        alike = folder_alike(folder, [path / name for name in ("imagesTr", "imagesTs", "labelsTs")])
        cure = "add it" if alike is None else f"there is {alike.name}/: rename it"
        raise InputRefused(
            f"{path}: labelsTr/ does not exist, and its label maps say which cases there are: {cure}",
            code="missing-folder",
            path=path,
        )
    cases = []
    for label in sorted(folder.glob(f"*{ending}")):
        case = label.name[: -len(ending)]
        images = tuple(path / "imagesTr" / f"{case}_{n:04d}{ending}" for n in range(len(channels)))
        cases.append(Case(case, images, label))
    dataset = make_dataset(path, "nnunet", channels, modalities, labels, cases, ignored)
    return replace(dataset, regions=regions)
