"""A labels layer while it is corrected: its session, its grid, and what may be edited. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import Geometry, InputRefused, LabelMap, MedsegError, Volume
from medseg.io.files import stem
from napari_medseg._writer import labels_to_save
from napari_medseg.correction.limits import Limits
from napari_medseg.correction.strokes import before_stroke, stroke_box
from napari_medseg.correction.tools import Extent, Job, Voxel
from napari_medseg.editing.arguments import Over
from napari_medseg.editing.boxes import Box
from napari_medseg.editing.brush import near_way
from napari_medseg.edits import Edit
from napari_medseg.layers import METADATA_KEY, UNASKED, LayerGrid, Opening
from napari_medseg.recovery.known_scan import NO_SCAN, KnownScan
from napari_medseg.recovery.scan_checksum import scan_checksum
from napari_medseg.recovery.sessions import open_session, recover
from napari_medseg.session import CorrectionSession

Options = Mapping[str, Any]
Point = Sequence[float] | NDArray[Any]  # layer coordinates
Put = Callable[[tuple[NDArray[np.int64], ...], NDArray[Any]], object]


@dataclass(frozen=True, slots=True)
class Place:
    """The slice on show: the array axis that it lies across, its index, and what is the next one's.

    ``onwards`` is 1 where the window's slider and the array count the same way, else -1.
    """

    axis: int
    index: int
    onwards: int = 1


class Correction:
    """A case that is corrected in a layer.

    Attributes
    ----------
    session
        Of the layer's memory.
    grid
        Between the layer and the array.
    image
        The scan (I, J, K) on the same grid, or None.
    seen
        Slices that were on show since the start: (axis, index).
    """

    def __init__(self, session: CorrectionSession, image: NDArray[Any] | None = None) -> None:
        self.session = session
        self.grid = LayerGrid(session.facts.geometry)
        self.image = image
        self._limits = Limits()
        self.seen: set[tuple[int, int]] = set()
        self._spacing = session.facts.geometry.spacing  # asked for at every move of the mouse

    @property
    def limits(self) -> Limits:
        """Where edits are kept to: those of our tools and of napari's, and what anybody else writes."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self.session.keep_to(None if limits.is_open else limits.where)

    @property
    def layer_data(self) -> NDArray[Any]:
        """The session's array as a layer shows it, a view."""
        return self.grid.to_layer(self.session.array)

    def place(self, point: Point, layer_axis: int) -> Place:
        """The slice across a layer axis at a point in layer coordinates, the nearest one within the scan."""
        geometry = self.grid.geometry
        if geometry.is_2d:
            return Place(2, 0)
        axis = self.grid.axes[layer_axis]
        index = min(max(self.grid.voxel(point)[axis], 0), geometry.shape[axis] - 1)
        return Place(axis, index, -1 if self.grid.flipped[layer_axis] else 1)

    def visit(self, place: Place) -> None:
        """A slice is on show."""
        self.seen.add((place.axis, place.index))

    def seen_across(self, axis: int) -> set[int]:
        """The slices across an axis that were on show since the start."""
        return {index for one, index in self.seen if one == axis}

    def job(self, label: int, place: Place, extent: Extent, over: Over) -> Job:
        """What a tool is to work on."""
        array, spacing = self.session.array, self.grid.geometry.spacing
        return Job(array, spacing, label, place.axis, place.index, extent, over, self.limits)

    def dab(
        self,
        label: int,
        start: Voxel,
        end: Voxel,
        radius: float,
        axis: int | None,
        over: Over,
        limits: Limits,
    ) -> tuple[Box, tuple[NDArray[np.int64], ...]]:
        """What the brush changes on its straight way from one voxel to the next.

        Parameters
        ----------
        radius
            In mm.
        axis
            The array axis across which the brush is a disc; None for a ball.
        limits
            Where it may paint: an intensity range makes it a threshold brush.

        Returns
        -------
        box
            Of the array, around the brush.
        indices
            Of the voxels there that are to get the label and do not have it: (N,) along each axis of the
            layer's data.
        """
        array = self.session.array
        box, near = near_way(start, end, radius, self._spacing, array.shape, axis=axis)
        now = array[box]
        changes = near & (now != label)
        if over == "background":
            changes &= now == 0
        where = limits.where(now, box)
        if where is not None:
            changes &= where
        # Of a flat array `nonzero` is several times as quick: it is asked at every move of the mouse.
        found = np.unravel_index(changes.ravel().nonzero()[0], changes.shape)
        indices = [n + part.start for n, part in zip(found, box, strict=True)]
        return box, self.grid.layer_indices(indices)

    def finish_stroke(self, layer_data: NDArray[Any], atoms: Sequence[Any], put: Put) -> bool:
        """A stroke of napari's own tools has ended; what it painted outside of the limits is taken back.

        Parameters
        ----------
        layer_data
            The layer's data.
        atoms
            The value of its `paint` event.
        put
            Called with what to write into the layer's data: indices (N,) along its axes, and values (N,).

        Returns
        -------
        bool
            Whether something was taken back.
        """
        layer_box = stroke_box(atoms)
        box = self.grid.array_box(layer_box)
        taken_back = False
        if not self.limits.is_open:
            before = self._array_of(before_stroke(layer_data, atoms, layer_box))
            part = self._array_of(layer_data[layer_box])
            where = self.limits.where(before, box)
            outside = part != before
            if where is not None:
                outside &= ~where
            indices = [n + along.start for n, along in zip(outside.nonzero(), box, strict=True)]
            taken_back = len(indices[0]) > 0
            if taken_back:
                put(self.grid.layer_indices(indices), before[outside])
        self.session.changed(box)  # last, so that all of the stroke is in the note
        return taken_back

    def apply(self, edit: Edit) -> int:
        """Make an edit as one step of undo; the number of voxels that changed.

        Sync the session beforehand, from a thread that may wait, so that nothing from before gets into it.
        """
        self.session.begin_step()
        changed = edit.apply(self.session.array)
        self.session.changed(edit.box)
        self.session.end_step()
        return changed

    def _array_of(self, layer_part: NDArray[Any]) -> NDArray[Any]:
        """A box of the layer's data turned as the array is."""
        return self.grid.to_array(layer_part)


def begin(
    data: Any,
    options: Options,
    scan: Volume | None,
    scans: Sequence[Options],
    kept: Path | None = None,
    opening: Opening = UNASKED,
) -> Correction:
    """Open a session on a labels layer's memory, or on a copy of it where it cannot be edited in place.

    Parameters
    ----------
    data, options
        The layer, as npe2 gives it. A layer that is not medseg's must lie on the one grid of ``scans``.
    scan
        Its scan, None where there is none.
    scans
        What medseg keeps with each scan in the window.
    kept
        The folder of the layer's session that was kept for later, which then goes on: all of it can be
        undone, and what was painted since is an edit.
    opening
        How the scan was opened.

    Returns
    -------
    Correction
        Not watched yet. Where it is on a copy, its `layer_data` has to become the layer's.

    Raises
    ------
    UsageError
        If nothing says on which grid the layer stands, or its numbers are no ids.
    InputRefused
        ``grid-differs`` if the scan lies on another grid.
    """
    labels = editable(labels_to_save(data, options, scans), data)
    _check_grid(scan, labels.geometry)
    if kept is not None:
        session = recover(kept)
        try:
            session.attach(labels.data)
            return join(session, scan, opening)
        except MedsegError:
            session.close()
            raise
    own = [path for path in labels.source.paths if scan is None or path not in scan.source.paths]
    session = open_session(
        labels,
        case=str(options["name"]),
        scan=NO_SCAN if scan is None else known_scan(scan, opening),
        labels_path=own[0] if len(own) == 1 else None,
        model=_model_of(options),
    )
    return Correction(session, None if scan is None else scan.data[0])


def join(session: CorrectionSession, scan: Volume | None, opening: Opening = UNASKED) -> Correction:
    """Correct in a session that is open already, and let it know the scan; parameters as of `begin`.

    Raises
    ------
    InputRefused
        ``grid-differs`` if the scan lies on another grid.
    WriteFailed
        As `CorrectionSession.add_scan`.
    """
    _check_grid(scan, session.facts.geometry)
    if scan is None:
        return Correction(session)
    session.add_scan(known_scan(scan, opening))
    return Correction(session, scan.data[0])


def known_scan(scan: Volume, opening: Opening = UNASKED) -> KnownScan:
    """What a session keeps of a scan: files, checksum of its first channel, and how it was opened."""
    return KnownScan(scan.source.paths, scan_checksum(scan.data[0]), opening)


def _check_grid(scan: Volume | None, geometry: Geometry) -> None:
    if scan is not None and not scan.geometry.same_grid(geometry):
        raise InputRefused(
            f"the scan has {scan.geometry.shape} voxels and the labels {geometry.shape}, or they "
            "lie at different places: choose the scan that the labels belong to, or none",
            code="grid-differs",
        )


def _model_of(options: Options) -> dict[str, str | None] | None:
    """The model whose run in this window made a layer."""
    provenance = options.get("metadata", {}).get(METADATA_KEY, {}).get("provenance")
    model = (provenance or {}).get("model")
    return {key: model.get(key) for key in ("name", "sha256")} if isinstance(model, Mapping) else None


def editable(labels: LabelMap, layer_data: Any) -> LabelMap:
    """The label map on memory that can be written to: the layer's own where that is possible."""
    if labels.data.flags.writeable and (
        np.shares_memory(labels.data, layer_data)
        if isinstance(layer_data, np.ndarray)
        else labels.data.flags.owndata
    ):
        return labels
    return replace(labels, data=np.array(labels.data, order="K"))


def suggested_path(session: CorrectionSession) -> Path:
    """Where the result of a session is proposed to go: ``<scan>_seg.nii.gz`` beside the scan.

    Of a series, beside its folder and with its name. Without files, in the current folder.
    """
    files = session.scan.files
    if not files:
        return Path.cwd() / f"{session.facts.case.replace('/', '-')}_seg.nii.gz"
    first = files[0]
    if len(files) == 1:
        return first.with_name(f"{stem(first)}_seg.nii.gz")
    return first.parent.with_name(f"{first.parent.name}_seg.nii.gz")
