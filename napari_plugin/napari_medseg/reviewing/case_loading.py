"""A case of the review queue, read from the disk and made ready to be corrected. No Qt, no viewer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

import medseg
from medseg import InputRefused, LabelMap, LabelSet, Volume
from medseg.errors import NotFound, WriteFailed
from napari_medseg.correction.correcting import known_scan
from napari_medseg.correction.session_scan import not_the_same, own_channel
from napari_medseg.layers import LayerData, Opening, image_layers, labels_layer
from napari_medseg.recovery.known_scan import NO_SCAN
from napari_medseg.recovery.provenance import read_json, sidecar_path
from napari_medseg.recovery.sessions import UnfinishedSession, open_session, recover, unfinished_sessions
from napari_medseg.reviewing.review import ReviewCase, ReviewQueue
from napari_medseg.session import CorrectionSession

_NO_SCAN = (
    "its scan was not found, neither where it was segmented nor beside the result: "
    'press "Scans …" and choose the folder that the scans are in'
)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedCase:
    """A case that is ready to be shown.

    Parameters
    ----------
    case
        What was opened.
    scans
        Its images, one for each file; empty where the scan was not found.
    session
        The correction of its labels, not watched yet: a new one, or one that was not saved, with its edits.
    layers
        For napari: images first, labels last; that one shares the session's memory.
    notices
        What the person has to know, a sentence each.
    """

    case: ReviewCase
    scans: tuple[Volume, ...]
    session: CorrectionSession
    layers: tuple[LayerData, ...]
    notices: tuple[str, ...]

    @property
    def scan(self) -> Volume | None:
        """The scan of a case that has one file or series, for `ReviewQueue.save_corrected`; else None."""
        return self.scans[0] if len(self.scans) == 1 else None


def load_case(queue: ReviewQueue, case_id: str, root: Path | None = None) -> LoadedCase:
    """Read a case's scan and labels, and open a session of the labels.

    Labels that do not exist yet begin empty, with the names of `known_names`. A session of the same scan that
    was not saved is gone on with, unless the case was corrected since.

    Parameters
    ----------
    root
        Where sessions lie; None for `sessions_folder`.

    Raises
    ------
    NotFound
        Neither the scan nor labels were found.
    InputRefused
        As `medseg.read` and `medseg.read_labels`; ``grid-differs`` where the labels are on another grid.
    """
    case = queue[case_id]
    opening = case.files.opening
    scans = tuple(
        medseg.read(path, series=opening.series, allow=opening.allow) for _, path in case.files.images
    )
    if case.labels is None and not scans:
        raise NotFound(f"case {case.id!r}: {_NO_SCAN}")
    notices = [] if scans else [f"{case.id}: {_NO_SCAN}"]
    notices += [reason.message for scan in scans for reason in scan.verdict.reasons]
    files = scans[0].source.paths if scans else ()
    if (kept := _not_saved(case, files, root)) is not None:
        session = recover(kept.folder)
        day = datetime.fromtimestamp(kept.last_edit).strftime("%d %b %Y, %H:%M")
        notices += [f"Edits of {day} were not saved: here they are again", *session.notices]
        if scans and own_channel(scans[0], session.facts.scan) is None:
            notices.append(not_the_same(case.files.images[0][1].name))
        labels = session.label_map()
        try:
            _check_grids(case, scans, labels)
        except InputRefused:
            session.close()
            raise
    else:
        labels = (
            medseg.read_labels(case.labels, allow=opening.allow)
            if case.labels
            else _empty(scans[0], known_names(queue))
        )
        _check_grids(case, scans, labels)
        notices += [reason.message for reason in labels.verdict.reasons]
        session = _begin(case, labels, scans, root)
    of_labels = labels_layer(labels, f"{case.id} labels", Opening(allow=opening.allow))
    layers = (*_images(case, scans), of_labels)
    return LoadedCase(case, scans, session, layers, (*notices, *case.files.reasons))


def known_names(queue: ReviewQueue) -> LabelSet:
    """Names for a case without labels: those of corrected cases, else of the first that a model segmented.

    A number has one meaning in a dataset, so a case that begins with nothing is to use the others' numbers.
    """
    facts = read_json(queue.dataset_path / "dataset.json")
    if facts is not None:
        return LabelSet.from_names({int(number): str(name) for name, number in facts["labels"].items()})
    for case in queue:
        sidecar = (read_json(sidecar_path(case.files.labels)) if case.files.labels else None) or {}
        if listed := sidecar.get("labels"):
            return LabelSet.from_names({int(one["id"]): str(one["name"]) for one in listed})
    return LabelSet()


def _begin(
    case: ReviewCase, labels: LabelMap, scans: tuple[Volume, ...], root: Path | None
) -> CorrectionSession:
    """A new session, which knows all scans of the case."""
    first, *others = [known_scan(scan, case.files.opening) for scan in scans] or [NO_SCAN]
    session = open_session(labels, case=case.id, scan=first, labels_path=case.labels, root=root)
    try:
        for other in others:
            session.add_scan(other)
    except WriteFailed:
        session.close()
        raise
    return session


def _empty(scan: Volume, names: LabelSet) -> LabelMap:
    dtype = np.uint8 if max(names.ids, default=0) < 256 else np.uint16
    data = np.zeros(scan.geometry.shape, dtype, order="F")  # as NIfTI files are read
    return LabelMap(data, scan.geometry, names, scan.source)


def _check_grids(case: ReviewCase, scans: tuple[Volume, ...], labels: LabelMap) -> None:
    for scan in scans:
        if not scan.geometry.same_grid(labels.geometry):
            raise InputRefused(
                f"case {case.id!r}: the labels have {labels.geometry.shape} voxels and the scan "
                f"{scan.geometry.shape}, or they lie at different places: expected one grid. Name the scan "
                "that these labels were made from",
                code="grid-differs",
            )


def _images(case: ReviewCase, scans: tuple[Volume, ...]) -> list[LayerData]:
    """The images as layers, only the first visible: the others lie on it."""
    titles = [f"{case.id} {name}".strip() for name, _ in case.files.images]
    opening = case.files.opening
    layers = [
        layer
        for scan, title in zip(scans, titles, strict=True)
        for layer in image_layers(scan, title, opening)
    ]
    for _, options, _ in layers[1:]:
        options |= {"visible": False, "blending": "additive"}
    return layers


def _not_saved(case: ReviewCase, files: tuple[Path, ...], root: Path | None) -> UnfinishedSession | None:
    """The last whole session of the case that was not saved, None where what was saved since is newer."""
    scan = tuple(path.absolute() for path in files)
    corrected = case.corrected.stat().st_mtime if case.corrected else 0.0
    for one in unfinished_sessions(root):
        same = one.case == case.id and one.scan == scan and (scan or one.labels_path == case.labels)
        if same and one.damage is None and one.changed_voxels and one.last_edit > corrected:
            return one
    return None
