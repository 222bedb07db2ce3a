"""Files that medseg wrote itself: a call for ``scans/*.nii.gz`` is not meant to segment its own results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medseg.errors import InputRefused
from medseg.io.files import stem
from medseg.pipeline.cases import Case
from medseg.pipeline.outputs import INTERRUPTED
from medseg.pipeline.report import read_sidecar

_WRITTEN = ("segmentation", "segmentations", "masks", "preview")


def is_own_result(path: Path) -> bool:
    """Whether a file is a segmentation, mask or preview that `infer_files` wrote, by its sidecar.

    It is called ``<stem>_seg`` or ``<stem>_seg_<total>``, and the sidecar ``<stem>_seg.json`` beside it names
    it, or belongs to a case that was stopped while its files were written. Anything else is a scan.
    """
    segmentation = _segmentation_stem(stem(path))
    if segmentation is None or not path.is_file():
        return False
    sidecar = read_sidecar(path.with_name(f"{segmentation}.json"))
    return sidecar is not None and (path.name in _written_names(sidecar) or _was_stopped(sidecar))


def without_own_results(cases: list[Case]) -> tuple[list[Case], tuple[Path, ...]]:
    """The cases that are scans, and the inputs that are left out.

    Cases of named channels stay: whoever names a file so means it.

    Raises
    ------
    InputRefused
        ``own-result`` if nothing else is there.
    """
    kept: list[Case] = []
    own: list[Path] = []
    for case in cases:
        if not case.names and is_own_result(case.path):
            own.append(case.path)
        else:
            kept.append(case)
    if own and not kept:
        first, more = own[0], len(own) - 1
        others = f" (so are the other inputs, {more})" if more else ""
        raise InputRefused(
            f"{first.name}: a result of medseg, by the sidecar beside it{others}; expected a scan. To "
            "segment it all the same, copy it to another folder",
            code="own-result",
            path=first,
        )
    return kept, tuple(own)


def _segmentation_stem(name: str) -> str | None:
    """``scan_seg`` of ``scan_seg`` and of ``scan_seg_whole-brain``; None of any other name."""
    if name.endswith("_seg"):
        return name
    scan, mark, total = name.rpartition("_seg_")
    return f"{scan}_seg" if mark and "_" not in total else None


def _written_names(sidecar: Mapping[str, Any]) -> Iterator[str]:
    """Names of the files that a sidecar tells of; their folder may have been moved since."""
    waiting = [sidecar.get(kind) for kind in _WRITTEN]
    while waiting:
        where = waiting.pop()
        if isinstance(where, str):
            yield where.replace("\\", "/").rpartition("/")[2]  # as written on any system
        elif isinstance(where, dict):
            waiting += where.values()
        elif isinstance(where, list):
            waiting += where


def _was_stopped(sidecar: Mapping[str, Any]) -> bool:
    reasons = sidecar.get("reasons")
    listed = reasons if isinstance(reasons, list) else []
    return any(isinstance(reason, dict) and reason.get("code") == INTERRUPTED for reason in listed)
