"""Label names in a JSON file beside a segmentation, as ``medseg infer`` writes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.io.files import stem
from medseg.io.raster import Raster
from medseg.labels import LabelSet
from medseg.verdict import Verdict

_LARGEST = 1 << 24


def with_sidecar_names(raster: Raster) -> Raster:
    """The raster with the names of ``<stem>.json``, where that file is there and has any.

    ``"labels"`` is a list of ``{"id", "name"}``, a mapping of id to name, or one of name to id, as nnU-Net
    writes it. A JSON file without
    ``"labels"`` (BIDS keeps acquisition facts there) is passed over; one that cannot be read is a warning.
    """
    path = raster.path.with_name(f"{stem(raster.path)}.json")
    if not path.is_file():
        return raster
    try:
        labels = _labels(path)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # their words quote the file
        reason = f"{path.name} beside it holds no label names that can be read; ids stand for names"
        return replace(raster, verdict=raster.verdict + Verdict.of("warning", "sidecar-unreadable", reason))
    return replace(raster, labels=labels)


def _labels(path: Path) -> LabelSet | None:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"larger than {_LARGEST} bytes")
    document = json.loads(path.read_text("utf-8"))
    names = _names(document.get("labels")) if isinstance(document, dict) else {}
    return LabelSet.from_names(names) if names else None


def _names(labels: Any) -> dict[int, str]:
    if labels is None:
        return {}
    if isinstance(labels, dict):
        by_name = all(type(value) is int for value in labels.values())
        pairs = ((value, key) if by_name else (key, value) for key, value in labels.items())
        return {int(number): str(name) for number, name in pairs}
    return {int(entry["id"]): str(entry["name"]) for entry in labels}
