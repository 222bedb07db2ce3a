"""Segmentations and structure sets as pydicom reads them: which voxels are which structure's?"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from tests.acceptance.files.oracle_dicom import convert_with_dcmtk, decoded_by_pydicom, planes, read_object

if TYPE_CHECKING:
    from tests.acceptance.files.oracle import Found

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_OFF_LATTICE = 0.02  # of a voxel
_ON_EDGE = 2e-3  # of a voxel: a centre so near to a contour may be in or out


def check_segmentation(path: Path, options: dict[str, Any], found: Found) -> str:
    """Every frame's pixels are at their own place, under their own segment's number, and nothing else is."""
    item = read_object(path)
    stored = decoded_by_pydicom(path.name, item)
    frames = int(item.get("NumberOfFrames") or 1)
    stored = stored if stored.ndim == 3 else stored[None]
    expected = np.zeros(found.data.shape[1:], np.int64)
    for number, plane in enumerate(planes(item, stored if frames > 1 else stored[0])):
        if plane.origin is None:
            raise ValueError(f"frame {number} has no place")
        index = np.linalg.solve(found.affine, [*plane.origin, 1.0])[:3]
        i, j, k = (round(float(x)) for x in index)
        if np.abs(index - (i, j, k)).max() > _OFF_LATTICE:
            return f"frame {number} lies off the lattice, at {np.round(index, 3).tolist()}"
        ids = _ids(item, number, stored[number])
        inside = np.zeros(ids.T.shape, bool)
        low, high = (max(0, -i), max(0, -j)), (expected.shape[0] - i, expected.shape[1] - j)
        inside[low[0] : high[0], low[1] : high[1]] = 0 <= k < expected.shape[2]
        if (ids.T[~inside] > 0).any():
            return f"frame {number} has voxels outside the grid"
        rows = expected[max(0, i) : i + ids.shape[1], max(0, j) : j + ids.shape[0], k]
        part = ids.T[low[0] : low[0] + rows.shape[0], low[1] : low[1] + rows.shape[1]]
        rows[part > 0] = part[part > 0]
    wrong = int((expected != found.data[0]).sum())
    return f"{wrong} voxels have another label" if wrong else ""


def _ids(item: Dataset, number: int, stored: NDArray[Any]) -> NDArray[Any]:
    """Segment numbers of the pixels (row, column) of one frame."""
    if item.SegmentationType == "LABELMAP":
        padding = item.get("PixelPaddingValue")
        return np.where(stored == padding, 0, stored) if padding else stored
    shared = (item.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    group = item.PerFrameFunctionalGroupsSequence[number]
    holder = group if "SegmentIdentificationSequence" in group else shared
    segment = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    largest = int(item.get("MaximumFractionalValue") or 255) if item.SegmentationType == "FRACTIONAL" else 1
    return np.where(stored.astype(int) * 2 >= largest, segment, 0) * (stored > 0)


def check_segmentation_with_dcmtk(path: Path, options: dict[str, Any], found: Found) -> str:
    """The same, after dcmtk has parsed and decoded the file: pydicom sees only what dcmtk writes."""
    with tempfile.TemporaryDirectory() as folder:
        after = Path(folder) / "after.dcm"
        if not convert_with_dcmtk(path, after):
            raise ValueError("dcmtk cannot read it")
        return check_segmentation(after, options, found)


def check_structures(path: Path, options: dict[str, Any], found: Found) -> str:
    """Voxel centres inside an odd number of a structure's contours bear its number; centres on edges may."""
    from matplotlib.path import Path as Outline

    item = read_object(path)
    shape = found.data.shape[1:]
    centres = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), -1).reshape(
        -1, 2
    )
    expected, unsure = np.zeros(shape, int), np.zeros(shape, bool)
    for roi in item.get("ROIContourSequence") or ():
        if roi.get("ReferencedROINumber") is None:
            continue  # belongs to no structure
        mask = np.zeros(shape, bool)
        for contour in roi.get("ContourSequence") or ():
            if contour.get("ContourGeometricType", "CLOSED_PLANAR") not in (
                "CLOSED_PLANAR",
                "CLOSEDPLANAR_XOR",
            ):
                continue
            points = np.array(contour.ContourData, float).reshape(-1, 3) * _LPS_TO_RAS
            index = (np.linalg.inv(found.affine) @ np.c_[points, np.ones(len(points))].T)[:3].T
            k = round(float(index[:, 2].mean()))
            if not 0 <= k < shape[2] or len(points) < 3:
                continue
            outline = np.vstack([index[:, :2], index[:1, :2]])
            mask[..., k] ^= Outline(outline).contains_points(centres).reshape(shape[:2])
            unsure[..., k] |= _near(outline, centres).reshape(shape[:2])
        expected[mask] = int(roi.ReferencedROINumber)
    wrong = int(((expected != found.data[0]) & ~unsure).sum())
    return f"{wrong} voxels have another label" if wrong else ""


def _near(outline: NDArray[np.float64], centres: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which centres lie on an edge."""
    near = np.zeros(len(centres), bool)
    for start, end in itertools.pairwise(outline):
        along = end - start
        length = float(along @ along)
        share = np.clip((centres - start) @ along / length, 0, 1) if length else np.zeros(len(centres))
        near |= np.linalg.norm(centres - start - share[:, None] * along, axis=1) < _ON_EDGE
    return near
