"""Where a corrected segmentation comes from: the JSON beside it, ``<stem>.provenance.json``.

======================= ============================================================================
field                   what
======================= ============================================================================
format_version          1
medseg                  version that wrote it
session                 name of the session: a second save of one session replaces its first
case                    as shown to the user
segmentation            name and SHA-256 of the file beside
scan                    name and SHA-256 of the scan that the session began with, else of the first that
                        was chosen, with the words that opened it: ``series``, null where there was no
                        choice, and ``allow``. null without such a file. Of a series the name is its
                        folder's, and the digest that of its files' digests, in slice order
other_scans             the same of other scans on this grid: further channels, or chosen while it ran
start                   name and SHA-256 of the labels that the session began with, null without such a file
model                   name and SHA-256 of the model that made ``start``, null where neither the window nor a
                        sidecar tells
who                     free text, null where not told
started, saved          UTC, ISO 8601
active_seconds          pauses between edits, of each at most 60 s
edits                   steps that stand in what was saved; what was undone does not count
labels                  id, name, voxels added and removed against ``start``, for every label touched
earlier                 such documents of sessions whose result this file held before, oldest first
======================= ============================================================================
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import InputRefused, __version__
from medseg.io.files import sha256_files, stem, write_text
from napari_medseg.recovery.known_scan import KnownScan
from napari_medseg.recovery.session_files import SessionFacts

FORMAT_VERSION = 1
_LARGEST = 1 << 26


def provenance_path(segmentation: Path) -> Path:
    """The JSON file beside a segmentation."""
    return segmentation.with_name(f"{stem(segmentation)}.provenance.json")


def changed_voxels(start: Iterable[NDArray[Any]], now: NDArray[Any]) -> dict[int, tuple[int, int]]:
    """Voxels that each label gained and lost, for those that did either, by id; 0 is left out.

    Parameters
    ----------
    start
        The array before, as pieces of its values one after another.
    now
        The values (N,) after, in the same order.
    """
    added: Counter[int] = Counter()
    removed: Counter[int] = Counter()
    first = 0
    for piece in start:
        after = now[first : first + len(piece)]
        differs = piece != after
        _count(added, after[differs])
        _count(removed, piece[differs])
        first += len(piece)
    return {i: (added[i], removed[i]) for i in sorted({*added, *removed} - {0})}


def write(
    segmentation: Path,
    session: str,
    facts: SessionFacts,
    *,
    scans: Sequence[KnownScan],
    names: Mapping[int, str],
    changed: Mapping[int, tuple[int, int]],
    edits: int,
    active_seconds: float,
    saved: float,
    who: str | None,
) -> Path:
    """Write the provenance of a segmentation beside it, and return its path.

    Parameters
    ----------
    segmentation
        The file, which exists.
    session, facts
        The session's name and case.
    scans
        On which the labels were corrected.
    names, changed
        Names by id, and voxels added and removed by id.
    edits, active_seconds, saved, who
        As in the table above; ``saved`` in seconds since 1970.
    """
    path = provenance_path(segmentation)
    start = [] if facts.labels_path is None else [facts.labels_path]
    document = {
        "format_version": FORMAT_VERSION,
        "medseg": __version__,
        "session": session,
        "case": facts.case,
        "segmentation": _file_facts([segmentation]),
        "scan": _scan_facts(scans[0]) if scans else None,
        "other_scans": [found for one in scans[1:] if (found := _scan_facts(one)) is not None],
        "start": _file_facts(start, facts.labels_sha256),
        "model": _model_of(facts.labels_path) if facts.model is None else dict(facts.model),
        "who": who or None,
        "started": _iso_time(facts.started),
        "saved": _iso_time(saved),
        "active_seconds": round(active_seconds, 1),
        "edits": edits,
        "labels": [
            {"id": i, "name": names.get(i, f"label {i}"), "added": added, "removed": removed}
            for i, (added, removed) in changed.items()
        ],
        "earlier": _earlier_sessions(path, session),
    }
    return write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file, None where there is no file.

    Raises
    ------
    InputRefused
        ``bad-json`` if it is no JSON object, or larger than 64 MB.
    """
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text("utf-8")) if path.stat().st_size <= _LARGEST else None
    except (ValueError, RecursionError) as error:
        raise InputRefused(f"{path}: not JSON: {error}", code="bad-json", path=path) from error
    if not isinstance(document, dict):
        raise InputRefused(f"{path}: expected a JSON object; remove or mend it", code="bad-json", path=path)
    return document


def sidecar_path(segmentation: Path) -> Path:
    """Where ``medseg infer`` writes what it knows of a segmentation: ``<stem>.json`` beside it."""
    return segmentation.with_name(f"{stem(segmentation)}.json")


def is_saved_result(file: Path) -> bool:
    """Whether medseg wrote a file as a segmentation: a JSON of ours beside it names it.

    That is the provenance of a correction, or the sidecar of ``medseg infer``, each of format 1. JSON that is
    anybody else's, or cannot be read as an object, says nothing of the file; nor does one of another name.
    """
    return any(_segmentation_of(path) == file.name for path in (provenance_path(file), sidecar_path(file)))


def _segmentation_of(path: Path) -> str | None:
    """Name of the segmentation that a provenance or sidecar was written for; None if it is neither."""
    try:
        document = read_json(path) or {}
    except InputRefused:  # whatever it is, it is not ours
        return None
    if document.get("format_version") != FORMAT_VERSION:
        return None
    named = document.get("segmentation")
    if isinstance(named, dict) and "medseg" in document:  # a provenance
        return named.get("name")
    if isinstance(named, str) and isinstance(document.get("provenance"), dict):  # a sidecar
        return PureWindowsPath(named).name  # the last part of a path as it is written on any system
    return None


def _file_facts(paths: Sequence[Path], sha256: str | None = None) -> dict[str, str | None] | None:
    """Name and SHA-256 of a file or series; None for no path, a null digest where a file is gone."""
    if not paths:
        return None
    if sha256 is None and all(path.is_file() for path in paths):
        sha256 = sha256_files(paths)
    name = paths[0].name if len(paths) == 1 else paths[0].parent.name
    return {"name": name, "sha256": sha256}


def _scan_facts(scan: KnownScan) -> dict[str, Any] | None:
    """The files of a scan, and how they were opened; None for a scan that came from no file."""
    found = _file_facts(scan.files)
    opening = {"series": scan.opening.series, "allow": list(scan.opening.allow)}
    return None if found is None else {**found, **opening}


def _model_of(labels_path: Path | None) -> dict[str, Any] | None:
    """The model that made a segmentation, by its sidecar."""
    sidecar = None if labels_path is None else read_json(sidecar_path(labels_path))
    made = (sidecar or {}).get("provenance")
    model = made.get("model") if isinstance(made, dict) else None
    return {"name": model.get("name"), "sha256": model.get("sha256")} if isinstance(model, dict) else None


def _earlier_sessions(path: Path, session: str) -> list[dict[str, Any]]:
    """The documents of other sessions in the file at ``path``, oldest first; empty without a file."""
    before = read_json(path)
    if before is None:
        return []
    earlier = list(before.pop("earlier", []))
    return earlier if before.get("session") == session else [*earlier, before]


def _iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _count(counter: Counter[int], values: NDArray[Any]) -> None:
    ids, counts = np.unique(values, return_counts=True)
    counter.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
