"""nnU-Net's labels that are regions of several ids: ``{"whole tumour": [1, 2, 3], "core": [2, 3]}``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.errors import InputRefused
from medseg.plans import IGNORED, RegionSpec


def read_regions(facts: dict[str, Any], path: Path) -> tuple[Any, tuple[RegionSpec, ...]]:
    """The labels of a dataset.json with one id per name, and its regions.

    Where no label is a list there is no region, and the labels stay as they are. Else every name but
    ``background`` and ``ignore`` is a region, in the file's order, and ``regions_class_order`` says as what
    each is painted. The ids get names from the smallest region that they are in.

    Raises
    ------
    InputRefused
        ``bad-labels`` if a region is neither an id nor a list of ids, or if there is not one number in
        ``regions_class_order`` for each.
    """
    entries = facts.get("labels")
    if not isinstance(entries, dict) or not any(isinstance(value, list) for value in entries.values()):
        return entries, ()
    plain = {name: _ids(name, value, path) for name, value in entries.items()}
    learnt = {name: ids for name, ids in plain.items() if name != IGNORED and ids != (0,)}
    order = facts.get("regions_class_order")
    if not isinstance(order, list) or len(order) != len(learnt) or not all(map(_is_id, order)):
        raise InputRefused(
            f"{path / 'dataset.json'}: regions_class_order {order}: expected {len(learnt)} ids above 0, the "
            f"one that each of {', '.join(learnt)} is painted with, in this order",
            code="bad-labels",
            path=path,
        )
    regions = tuple(
        RegionSpec(name=name, labels=ids, paints=paints)
        for (name, ids), paints in zip(learnt.items(), order, strict=True)
    )
    names: dict[str, int] = {name: ids[0] for name, ids in plain.items() if name not in learnt}
    named = _names(sorted({*order, *(label for ids in learnt.values() for label in ids)}), regions)
    return {**names, **{name: label for label, name in named.items()}}, regions


def _ids(name: str, value: object, path: Path) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [value]
    if ids != [0] and not (ids and all(map(_is_id, ids))):
        raise InputRefused(
            f"{path / 'dataset.json'}: label {name!r} is {value}: expected an id, or a list of ids above 0",
            code="bad-labels",
            path=path,
        )
    return tuple(ids)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def _names(ids: Sequence[int], regions: Sequence[RegionSpec]) -> dict[int, str]:
    """A name for each id: its region's, or that of the rest of a region that the smaller ones leave."""
    names = {}
    for label in ids:
        around = [region for region in regions if label in region.labels]
        smallest = min(around, key=lambda region: len(set(region.labels)), default=None)
        if smallest is None:
            names[label] = f"label {label}"
        elif set(smallest.labels) == {label}:
            names[label] = smallest.name
        else:
            names[label] = f"rest of {smallest.name}"
    counts = Counter(names.values())
    return {label: name if counts[name] == 1 else f"label {label}" for label, name in names.items()}
