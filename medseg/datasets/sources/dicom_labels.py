"""DICOM series with the segmentations (SEG) or structure sets (RTSTRUCT) that were drawn on them.

What refers to what is read from headers alone; `medseg.io` puts the structures on the grid of their series.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from medseg.datasets.sources.survey import Example, Problem, SourceCase, SourceOptions, Survey
from medseg.errors import InputRefused
from medseg.io import read, read_label_layers
from medseg.io.dicom import files, label_objects, rtstruct, seg, series
from medseg.io.dicom.elements import Parsed
from medseg.io.dicom.grids import References
from medseg.io.naming import Structure, label_set
from medseg.labels import Label, LabelSet
from medseg.volume import LabelMap

_CODES = {"dicom-seg": "segmentation", "rtstruct": "structure-set"}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A label object's file, what it refers to, and its structures."""

    path: Path
    references: References
    labels: LabelSet


def which(path: Path) -> str | None:
    """``"dicom-seg"`` or ``"rtstruct"`` where a folder of DICOM holds objects of that kind alone."""
    found = {item.code for item in files.scan(path).set_aside} & set(_CODES.values())
    kinds = [layout for layout, code in _CODES.items() if code in found]
    if len(kinds) > 1:
        raise InputRefused(
            f"{path}: segmentations and structure sets: choose with --layout dicom-seg or --layout rtstruct",
            code="several-kinds",
            path=path,
        )
    return kinds[0] if kinds else None


def survey(path: Path, options: SourceOptions, layout: str) -> Survey:
    """A case for each label object, named by a digest of its series' UID: no name of a patient is kept.

    Ids are the objects' own numbers where these name the same structures in all of them; else structures are
    numbered in the order of their names. ``target`` takes the structures of these names alone.
    """
    there = files.scan(path)
    drawn, problems = _objects(
        path, _CODES[layout], [s.source.path for s in there.set_aside if s.code == _CODES[layout]]
    )
    problems += [Problem(lost.code, lost.name, lost.message or "is not there") for lost in there.lost]
    drawn, absent = _targeted(drawn, options.target)
    labels, notes = _common_labels([one.labels for one in drawn])
    ids = {label.name: label.id for label in labels}
    among = [one for one in series.split(there.frames) if not one.aside]
    of_series: defaultdict[str, list[_Drawn]] = defaultdict(list)
    by_id = {one.id: one for one in among}
    for one in drawn:
        found = _referenced(one.references, among)
        if len(found) == 1:
            of_series[found[0].id].append(one)
        else:
            problems.append(_dangling(one.path.relative_to(path), len(found)))
    cases = []
    patients: dict[int, str] = {}  # numbered here: what tells them apart in headers lasts for one process
    for identity, objects in sorted(of_series.items()):
        image = by_id[identity]
        if len(objects) > 1:
            names = ", ".join(str(one.path.relative_to(path)) for one in objects)
            text = f"{len(objects)} label objects of one series ({names}): keep one of them in the folder"
            problems.append(Problem("several-labels", objects[0].path.name, text))
            continue
        home = Path(os.path.commonpath([file.parent for file in image.paths]))
        reading = partial(_read, home, identity, objects[0], ids)
        cases.append(
            SourceCase(
                f"case-{hashlib.sha256(identity.encode()).hexdigest()[:10]}",
                (*image.paths, objects[0].path),
                reading,
                patient=patients.setdefault(image.frames[0].image.patient, f"patient-{len(patients) + 1}"),
                part=",".join(options.target),
            )
        )
    return Survey(
        layout,
        path.resolve().name,
        ("",),
        ("image",),
        labels,
        tuple(cases),
        None,
        tuple(problems),
        (*notes, *absent),
    )


def _objects(path: Path, code: str, found: Sequence[Path]) -> tuple[list[_Drawn], list[Problem]]:
    """The label objects of a kind; those that cannot be read as problems."""
    drawn, problems = [], []
    for file in found:
        try:
            item = label_objects.find(file)
            assert item is not None  # the scan has found it to be one
            with files.interpreting(item.parsed.source):
                references, structures = _parsed(item.parsed, code)
        except InputRefused as refusal:
            problems.append(Problem(refusal.code, str(file.relative_to(path)), str(refusal)))
            continue
        if structures:
            drawn.append(_Drawn(file, references, label_set(structures)[0]))
        else:
            problems.append(
                Problem("no-segments", str(file.relative_to(path)), "no structure is drawn: remove it")
            )
    return drawn, problems


def _parsed(parsed: Parsed, code: str) -> tuple[References, list[Structure]]:
    if code == "structure-set":
        structures = rtstruct.parse(parsed.dataset)
        return structures.references, [roi.structure for roi in structures.rois]
    segments = seg.parse(parsed.dataset, ())
    return segments.references, list(segments.structures)


def _targeted(drawn: list[_Drawn], target: Sequence[str]) -> tuple[list[_Drawn], list[Problem]]:
    """The objects with their structures of some names (in any case); what an object lacks is a note."""
    if not target or not drawn:
        return drawn, []
    wanted = {name.lower() for name in target}
    kept, notes = [], []
    for one in drawn:
        labels = tuple(label for label in one.labels if label.name.lower() in wanted)
        missing = wanted - {label.name.lower() for label in labels}
        notes += [
            Problem("structure-absent", one.path.name, f"has no structure {name!r}")
            for name in sorted(missing)
        ]
        if labels:
            kept.append(_Drawn(one.path, one.references, LabelSet(labels)))
    if not kept:
        raise InputRefused(
            f"no label object has a structure {' or '.join(map(repr, target))}; there are "
            f"{', '.join(sorted({name for one in drawn for name in one.labels.names}))}: choose among these "
            f"with --target",
            code="no-cases",
        )
    return kept, notes


def _common_labels(sets: Sequence[LabelSet]) -> tuple[LabelSet, list[Problem]]:
    """One label set for all objects: their own numbers, or new ones where those contradict each other."""
    told: dict[str, Label] = {}
    for label in (label for labels in sets for label in labels):
        told.setdefault(label.name, label)
    numbers = {(label.name, label.id) for labels in sets for label in labels}
    if len(numbers) == len(told) == len({number for _, number in numbers}):
        return LabelSet(tuple(told.values())), []
    renumbered = tuple(
        Label(n, name, told[name].colour, told[name].snomed) for n, name in enumerate(sorted(told), start=1)
    )
    text = "numbers of structures differ between files: they are numbered in the order of their names"
    return LabelSet(renumbered), [Problem("labels-renumbered", "all cases", text)]


def _referenced(references: References, among: Sequence[series.Series]) -> list[series.Series]:
    """The series that an object refers to: by UID, by its images, else by the frame of reference."""
    found = [one for one in among if one.uid in references.series]
    if references.images:
        held = Counter(
            {n: len(references.images & {f.image.sop_uid for f in one.frames}) for n, one in enumerate(found)}
        )
        found = [found[n] for n, count in held.items() if count == len(references.images)]
    elif not found and not references.series and references.frame_of_reference:
        space = references.frame_of_reference
        found = [one for one in among if one.frames[0].image.frame_of_reference == space]
    return found


def _dangling(file: Path, found: int) -> Problem:
    if found:
        text = f"{found} series fit what it refers to: keep one of them in the folder"
        return Problem("several-series", str(file), text)
    text = "the series or images it refers to are not in the folder: add them, or take the file away"
    return Problem("no-reference-scan", str(file), text)


def _read(home: Path, identity: str, one: _Drawn, ids: Mapping[str, int]) -> Example:
    image = read(home, series=identity)
    layers = read_label_layers(one.path, scan=home, series=identity)
    wanted = set(one.labels.names)
    maps = [_renumbered(layer, wanted, ids) for layer in layers]
    kept = tuple(one for one in maps if len(one.labels))
    return Example((image,), _merged(kept))


def _renumbered(layer: LabelMap, wanted: set[str], ids: Mapping[str, int]) -> LabelMap:
    """A label map with the common ids, and only structures that are wanted."""
    kept = tuple(label for label in layer.labels if label.name in wanted)
    table = np.zeros(max(layer.labels.ids, default=0) + 1, np.uint16)
    for label in kept:
        table[label.id] = ids[label.name]
    labels = LabelSet(tuple(Label(ids[x.name], x.name, x.colour, x.snomed) for x in kept))
    return LabelMap(table[layer.data], layer.geometry, labels)


def _merged(layers: tuple[LabelMap, ...]) -> tuple[LabelMap, ...]:
    """As few layers as hold the structures: what overlapped may have been left out since."""
    merged: list[LabelMap] = []
    for layer in layers:
        at = next((n for n, one in enumerate(merged) if not ((one.data > 0) & (layer.data > 0)).any()), None)
        if at is None:
            merged.append(layer)
        else:
            both = LabelSet((*merged[at].labels, *layer.labels))
            merged[at] = LabelMap(np.maximum(merged[at].data, layer.data), layer.geometry, both)
    return tuple(merged)


def structures_of(layers: Sequence[LabelMap]) -> Iterator[LabelMap]:
    """Each structure of layers as a map of its own."""
    for layer in layers:
        for label in layer.labels:
            data = np.where(layer.data == label.id, layer.data, 0).astype(layer.data.dtype)
            yield LabelMap(data, layer.geometry, LabelSet((label,)))
