"""What JSON files say about a dataset: channels, names of labels, paths that stay inside its folder."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from medseg.datasets.dataset import modality_of
from medseg.errors import InputRefused
from medseg.labels import LabelSet

_LARGEST = 64 << 20  # bytes of a JSON file; the Decathlon's are a few hundred kB


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises
    ------
    InputRefused
        ``bad-dataset-json`` if it is larger than 64 MB, not JSON, or not an object.
    """
    if path.stat().st_size > _LARGEST:
        raise InputRefused(
            f"{path}: larger than 64 MB: not a list of cases", code="bad-dataset-json", path=path
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputRefused(f"{path}: not JSON: {error}", code="bad-dataset-json", path=path) from error
    if not isinstance(facts, dict):
        raise InputRefused(f"{path}: expected a JSON object", code="bad-dataset-json", path=path)
    return facts


def inside(folder: Path, name: str) -> Path:
    """A path that a file of the dataset names, which has to lie in the dataset's folder.

    Only the text is judged: what is a link in the folder, its owner has put there.

    Raises
    ------
    InputRefused
        ``path-escapes`` if the path is absolute or climbs out of the folder.
    """
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or PureWindowsPath(name).drive or ".." in pure.parts:
        raise InputRefused(
            f"{folder / 'dataset.json'}: the path {name!r} leads out of the dataset's folder: "
            f"expected one inside it, e.g. ./imagesTr/case1.nii.gz",
            code="path-escapes",
            path=folder,
        )
    return folder / pure


def read_channels(names: object, path: Path) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
    """Names and modalities in order from ``{"0": "T1", "1": "FLAIR"}``."""
    if not isinstance(names, dict) or not names or not all(str(key).isdigit() for key in names):
        raise InputRefused(
            f'{path / "dataset.json"}: channels {names}: expected numbers with names, e.g. {{"0": "CT"}}',
            code="bad-dataset-json",
            path=path,
        )
    ordered = tuple(str(names[key]) for key in sorted(names, key=int))
    return ordered, tuple(modality_of(name) for name in ordered)


def read_labels_of(entries: object, path: Path) -> tuple[LabelSet | None, int | None]:
    """Names from ``{"1": "liver"}`` (Decathlon) or ``{"liver": 1}`` (nnU-Net v2), and the id to ignore.

    That is nnU-Net's label ``ignore``: voxels that nobody judged. It is no structure.
    """
    if not isinstance(entries, dict) or not entries:
        return None, None
    try:
        names = (
            {int(key): str(value) for key, value in entries.items()}
            if all(str(key).isdigit() for key in entries)
            else {int(value): str(key) for key, value in entries.items()}
        )
    except (TypeError, ValueError) as error:
        raise InputRefused(
            f"{path}: labels {entries}: expected one number per name; regions belong into the plan",
            code="bad-labels",
            path=path,
        ) from error
    ignored = next((number for number, name in names.items() if name == "ignore"), None)
    if ignored is not None:
        del names[ignored]
    try:
        return LabelSet.from_names(names), ignored
    except ValueError as error:
        raise InputRefused(f"{path}: {error}", code="bad-labels", path=path) from error
