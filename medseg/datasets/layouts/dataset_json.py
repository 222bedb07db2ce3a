"""Folders with a dataset.json: the Medical Segmentation Decathlon's, and nnU-Net's v2 raw ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg.datasets.dataset import Case, Dataset, make_dataset
from medseg.datasets.layouts.facts import inside, read_channels, read_json, read_labels_of
from medseg.errors import InputRefused
from medseg.io import files


def read_dataset_json(path: Path) -> Dataset:
    facts = read_json(path / "dataset.json")
    if "channel_names" in facts:
        return _read_nnunet(path, facts)
    channels, modalities = read_channels(facts.get("modality", {"0": "image"}), path)
    cases = []
    for entry in facts.get("training", []):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(k), str) for k in ("image", "label")):
            raise InputRefused(
                f"{path / 'dataset.json'}: an entry of 'training' lacks a path 'image' or 'label': {entry}",
                code="bad-dataset-json",
                path=path,
            )
        image, label = inside(path, entry["image"]), inside(path, entry["label"])
        cases.append(Case(files.stem(label), (image,), label))
    # The Decathlon keeps several modalities as one 4D file, which `io` does not split by channel yet.
    return make_dataset(
        path, "decathlon", channels, modalities, read_labels_of(facts.get("labels"), path), cases
    )


def _read_nnunet(path: Path, facts: dict[str, Any]) -> Dataset:
    channels, modalities = read_channels(facts["channel_names"], path)
    ending = str(facts.get("file_ending", ".nii.gz"))
    cases = []
    for label in sorted((path / "labelsTr").glob(f"*{ending}")):
        case = label.name[: -len(ending)]
        images = tuple(path / "imagesTr" / f"{case}_{n:04d}{ending}" for n in range(len(channels)))
        cases.append(Case(case, images, label))
    return make_dataset(
        path, "nnunet", channels, modalities, read_labels_of(facts.get("labels"), path), cases
    )
