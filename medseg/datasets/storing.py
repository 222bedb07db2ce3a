"""Cases of an import as files: judged, written, found again, listed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.datasets.sources.survey import Example, SourceCase, Survey, safe_name
from medseg.errors import FormatCannotHold, InputRefused, UsageError
from medseg.io import read, read_labels, write
from medseg.io.files import write_text
from medseg.io.image_writer import check_can_hold
from medseg.labels import Label, LabelSet
from medseg.volume import LabelMap, Volume, present_ids

_ENDINGS = (".nii.gz", ".png", ".tif")
_IGNORED = "ignore"


@dataclass(frozen=True, slots=True)
class Names:
    """The files of a case: one for each name in ``files``, and a label map, or one per structure."""

    files: tuple[str, ...]
    structures: tuple[tuple[str, int], ...] = ()  # safe name and id

    def images(self, case_id: str) -> tuple[str, ...]:
        """Paths without endings."""
        return tuple(f"images/{case_id}" + (f"_{name}" if name else "") for name in self.files)

    def labels(self, case_id: str) -> tuple[str, ...]:
        """Paths without endings; of structures each in a folder of its own."""
        if not self.structures:
            return (f"labels/{case_id}",)
        return tuple(f"labels/{name}/{case_id}" for name, _ in self.structures)


def structure_names(found: Survey) -> tuple[tuple[str, int], ...]:
    """Names of files and ids of all structures, where each gets a label map of its own."""
    if found.labels is None:
        raise UsageError("separate: this dataset does not name its structures")
    names = [safe_name(label.name) for label in found.labels]
    if len({name.lower() for name in names}) < len(names):
        raise UsageError(f"separate: structures share a file's name: {', '.join(sorted(names))}")
    return tuple(zip(names, found.labels.ids, strict=True))


def verified(example: Example, found: Survey, separate: bool) -> Example:
    """The case with its labels named, after grids and ids have been held against each other.

    Raises
    ------
    InputRefused
        ``grid-differs``, ``unknown-labels``, ``overlapping-labels`` unless ``separate``.
    """
    first = example.images[0].geometry
    others: list[tuple[str, Volume | LabelMap]] = [
        *zip(found.files[1:], example.images[1:], strict=True),
        *(("the label map", layer) for layer in example.labels),
    ]
    for name, item in others:
        if not first.same_grid(item.geometry):
            raise InputRefused(
                f"{name} lies on another grid than the first image ({item.geometry.unlike(first)}): "
                f"resample it onto the image's grid",
                code="grid-differs",
            )
    if len(example.labels) > 1 and not separate:
        names = "; ".join(", ".join(layer.labels.names) for layer in example.labels)
        raise InputRefused(
            f"structures overlap ({names}): choose some with --target, or --separate writes a map for each",
            code="overlapping-labels",
        )
    return Example(example.images, tuple(_named(layer, found) for layer in example.labels))


def _named(layer: LabelMap, found: Survey) -> LabelMap:
    if found.labels is None:
        return layer
    known = [label for label in found.labels if label.id != found.ignore_label]
    if found.ignore_label is not None:
        known.append(Label(found.ignore_label, _IGNORED, (128, 128, 128)))
    labels = LabelSet(tuple(known), found.labels.background)
    unknown = sorted(set(present_ids(layer.data)) - set(labels.ids))
    if unknown:
        raise InputRefused(
            f"the label map holds ids {', '.join(map(str, unknown[:10]))}, which no label has: expected "
            f"0, {', '.join(map(str, labels.ids[:20]))}: name them, or correct the map",
            code="unknown-labels",
        )
    return LabelMap(layer.data, layer.geometry, labels, layer.source)


def stored(folder: Path, case_id: str, names: Names) -> tuple[tuple[Path, ...], tuple[Path, ...]] | None:
    """The images and label maps of a case, where all are there; labels are written last."""
    labels = tuple(_there(folder, name) for name in names.labels(case_id))
    images = tuple(_there(folder, name) for name in names.images(case_id))
    if any(file is None for file in (*labels, *images)):
        return None
    return tuple(file for file in images if file), tuple(file for file in labels if file)


def _there(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / f"{name}{end}" for end in _ENDINGS) if file.is_file()), None)


def store(folder: Path, case_id: str, example: Example, names: Names) -> None:
    """Write a case. What a run that was killed has left of it is kept if it is the same.

    Raises
    ------
    UsageError
        If another file has the name.
    """
    for name, volume in zip(names.images(case_id), example.images, strict=True):
        _write(folder, name, volume)
    maps = (
        [_alone(example.labels, label_id) for _, label_id in names.structures]
        if names.structures
        else list(example.labels)
    )
    for name, label_map in zip(names.labels(case_id), maps, strict=True):
        _write(folder, name, label_map)


def _alone(layers: Sequence[LabelMap], label_id: int) -> LabelMap:
    """One structure as a map of its own, empty where the case has none."""
    first = layers[0]
    data = np.zeros(first.geometry.shape, np.uint16)
    for layer in layers:
        data[layer.data == label_id] = label_id
    return LabelMap(data, first.geometry, LabelSet(tuple(x for x in first.labels if x.id == label_id)))


def _write(folder: Path, name: str, item: Volume | LabelMap) -> None:
    path = folder / f"{name}{_ending(item)}"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        write(item, path)
        return
    there = read(path) if isinstance(item, Volume) else read_labels(path)
    if not np.array_equal(there.data, item.data) or not there.geometry.same_grid(item.geometry):
        raise UsageError(f"{path}: exists and holds something else: move it away, or choose another folder")


def _ending(item: Volume | LabelMap) -> str:
    """A picture stays one where its format can hold it."""
    data = item.data if isinstance(item, Volume) else item.data[None]
    for ending in (".png", ".tif"):
        try:
            check_can_hold(Path(f"x{ending}"), data, item.geometry)
        except FormatCannotHold:
            continue
        return ending
    return ".nii.gz"


def write_lists(folder: Path, found: Survey, cases: Sequence[SourceCase], names: Names) -> tuple[Path, ...]:
    """dataset.json for all labels, or a JSON list for each structure; what ``medseg train`` takes."""
    written = {case.id: stored(folder, case.id, names) for case in cases}
    columns = tuple(f"image_{name}" if name else "image" for name in names.files)
    labels = found.labels or _found_labels([files[1][0] for files in written.values() if files])
    if not names.structures:
        rows = [_row(folder, case, columns, written[case.id], 0) for case in cases]
        _write_list(folder / "dataset.json", found, labels, rows)
        return (folder,)
    lists = []
    for n, (name, label_id) in enumerate(names.structures):
        rows = [_row(folder, case, columns, written[case.id], n) for case in cases]
        path = folder / f"{name}.json"
        _write_list(path, found, LabelSet((labels[label_id],), labels.background), rows)
        lists.append(path)
    return tuple(lists)


def _row(
    folder: Path,
    case: SourceCase,
    columns: Sequence[str],
    files: tuple[tuple[Path, ...], tuple[Path, ...]] | None,
    which: int,
) -> dict[str, str]:
    assert files is not None  # every case that is listed has been stored
    images, labels = files
    row = {"case_id": case.id}
    row |= {c: file.relative_to(folder).as_posix() for c, file in zip(columns, images, strict=True)}
    row["label"] = labels[which].relative_to(folder).as_posix()
    if case.patient is not None:
        row["patient"] = case.patient
    return row


def _write_list(path: Path, found: Survey, labels: LabelSet, rows: list[dict[str, str]]) -> None:
    named = {"0": labels.background, **{str(label.id): label.name for label in labels}}
    if found.ignore_label is not None:
        named[str(found.ignore_label)] = _IGNORED
    facts: dict[str, Any] = {
        "name": found.name,
        "source_layout": found.layout,
        "channels": list(found.channels),
        "labels": named,
        "cases": rows,
    }
    write_text(path, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _found_labels(files: Sequence[Path]) -> LabelSet:
    """The label set of maps that nobody named, from the ids that occur, with the files' own names."""
    names: dict[int, str] = {}
    for file in files:
        label_map = read_labels(file)
        for label_id in present_ids(label_map.data):
            names.setdefault(label_id, label_map.labels[label_id].name)
    return LabelSet.from_names(names)
