"""DICOM as pydicom reads it, slice by slice: is each where its own header puts it, with its own values?"""

from __future__ import annotations

import io
import math
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

if TYPE_CHECKING:
    from tests.acceptance.files.oracle import Found

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_PLACE_MM = 0.01
_DIRECTORY = "1.2.840.10008.1.3.10"
_RESCALE = (0x00281052, 0x00281053)
_NO_SCAN = ("SR", "SEG", "RTSTRUCT", "PR", "KO", "RTDOSE", "RTPLAN")


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame: values (row, column[, 3]), and world RAS of its first pixel and of one step each way."""

    values: NDArray[Any]
    origin: NDArray[np.float64] | None
    along: NDArray[np.float64] | None
    down: NDArray[np.float64] | None


def objects(path: Path) -> Iterator[tuple[str, Dataset]]:
    """Every readable DICOM object at a path: a folder's, a zip archive's, a file's and its siblings'."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield from _object(name, io.BytesIO(archive.read(name)))
        return
    folder = path if path.is_dir() else path.parent
    for one in sorted(folder.rglob("*")):
        if one.is_file():
            yield from _object(str(one), one)


def read_object(source: Any) -> Dataset:
    """A DICOM object by pydicom; zeros behind its last element are padding, which pydicom does not know."""
    content = source.getvalue() if isinstance(source, io.BytesIO) else Path(source).read_bytes()

    def is_padding(tag: BaseTag, vr: str | None, length: int) -> bool:
        return tag == 0

    return read_partial(io.BytesIO(content), stop_when=is_padding, force=True)


def _object(name: str, source: Any) -> Iterator[tuple[str, Dataset]]:
    try:
        item = read_object(source)
        if "Rows" in item or "PixelData" in item:
            yield name, item
    except Exception:  # noqa: BLE001 - a file that pydicom cannot parse is no slice to it
        return


def decoded_by_pydicom(name: str, item: Dataset) -> NDArray[Any]:
    if "TransferSyntaxUID" not in item.file_meta:
        implicit, little = item.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        item.file_meta.TransferSyntaxUID = syntax if little else ExplicitVRBigEndian
    if "SamplesPerPixel" not in item:
        item.SamplesPerPixel = 1
    stored: NDArray[Any] = item.pixel_array
    return stored


def _converted_by_dcmtk(path: Path) -> Iterator[tuple[str, Dataset]]:
    """As `objects`, after dcmtk has parsed and decoded every file: pydicom sees only what dcmtk writes."""
    with tempfile.TemporaryDirectory() as folder:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(Path(folder) / "in")
            path = Path(folder) / "in"
        for one in sorted((path if path.is_dir() else path.parent).rglob("*")):
            after = Path(folder) / "after.dcm"
            if one.is_file() and convert_with_dcmtk(one, after):
                yield from _object(str(one), after)


def convert_with_dcmtk(before: Path, after: Path) -> bool:
    """Write a file as dcmtk understands it, decoded; False where it does not."""
    tools = ("dcmdjpeg", "dcmdjpls", "dcmdrle")
    return any(
        subprocess.run([tool, before, after], capture_output=True, timeout=20).returncode == 0
        for tool in tools
    )


def _decoded_by_simpleitk(name: str, item: Dataset) -> NDArray[Any]:
    """Stored values by GDCM, from a copy without rescale."""
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.dcm"
        bare = Dataset()
        bare.file_meta = item.file_meta
        bare.update({tag: element for tag, element in item.items() if element.tag not in _RESCALE})
        bare.save_as(path)
        stored = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    return stored[0] if int(item.get("NumberOfFrames") or 1) == 1 else stored


def planes(item: Dataset, stored: NDArray[Any]) -> Iterator[Plane]:
    """The frames of an object, each with its own geometry and rescale."""
    frames = int(item.get("NumberOfFrames") or 1)
    if "MOSAIC" in (item.get("ImageType") or ()):
        yield from _tiles(item, stored)
        return
    stored = stored if frames > 1 else stored[None]
    for number in range(frames):
        groups = [item]
        if "PerFrameFunctionalGroupsSequence" in item:
            shared = item.get("SharedFunctionalGroupsSequence") or [Dataset()]
            groups = [item.PerFrameFunctionalGroupsSequence[number], shared[0], item]
        slope = _value(groups, "PixelValueTransformationSequence", "RescaleSlope")
        intercept = _value(groups, "PixelValueTransformationSequence", "RescaleIntercept")
        values = stored[number]
        if slope is not None or intercept is not None:
            values = values * np.float64(1 if slope is None else slope) + np.float64(intercept or 0)
        position = _value(groups, "PlanePositionSequence", "ImagePositionPatient")
        orientation = _value(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _value(groups, "PixelMeasuresSequence", "PixelSpacing")
        if position is None or orientation is None or spacing is None:
            yield Plane(values, None, None, None)
            continue
        directions = np.array(orientation, float).reshape(2, 3)
        directions /= np.linalg.norm(directions, axis=1)[:, None]
        yield Plane(
            values,
            _LPS_TO_RAS * np.array(position, float),
            _LPS_TO_RAS * directions[0] * float(spacing[1]),
            _LPS_TO_RAS * directions[1] * float(spacing[0]),
        )


def _tiles(item: Dataset, stored: NDArray[Any]) -> Iterator[Plane]:
    """The slices of a Siemens mosaic, by the arithmetic of nibabel's documentation (dicom/dicom_mosaic)."""
    from nibabel.nicom import csareader

    tags = csareader.get_csa_header(item)["tags"]
    count, normal = int(tags["NumberOfImagesInMosaic"]["items"][0]), tags["SliceNormalVector"]["items"]
    across = math.ceil(math.sqrt(count))
    rows, columns = stored.shape[0] // across, stored.shape[1] // across
    directions = np.array(item.ImageOrientationPatient, float).reshape(2, 3)
    down, along = (float(x) for x in item.PixelSpacing)
    origin = np.array(item.ImagePositionPatient, float)
    origin += directions[0] * along * (stored.shape[1] - columns) / 2
    origin += directions[1] * down * (stored.shape[0] - rows) / 2
    for number in range(count):
        row, column = divmod(number, across)
        yield Plane(
            stored[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns],
            _LPS_TO_RAS * (origin + number * float(item.SpacingBetweenSlices) * np.array(normal, float)),
            _LPS_TO_RAS * directions[0] * along,
            _LPS_TO_RAS * directions[1] * down,
        )


def _value(groups: list[Dataset], sequence: str, name: str) -> Any:
    for group in groups:
        inner = group.get(sequence)
        # In a functional group only its own sequence speaks; at the top, the element itself.
        value = inner[0].get(name) if inner else group.get(name) if group is groups[-1] else None
        if value is not None and not (isinstance(value, str) and not value.strip()):
            return value
    return None


def _check_scan(
    decode: Callable[[str, Dataset], NDArray[Any]], listed: Callable[[Path], Iterator[tuple[str, Dataset]]]
) -> Callable[[Path, dict[str, Any], Found], str]:
    def check(path: Path, options: dict[str, Any], found: Found) -> str:
        placed, loose, problems, unread = set(), [], [], []
        for name, item in listed(path):
            try:
                found_planes = list(planes(item, decode(name, item))) if _is_scan(item) else []
            except Exception as error:  # noqa: BLE001 - this library cannot read this object
                unread.append(f"{Path(name).name} {type(error).__name__} {error}"[:150])
                continue
            for plane in found_planes:
                if plane.origin is None:
                    loose.append(plane)
                    continue
                number, problem = _placed(plane, found)
                if problem:
                    problems.append(f"{Path(name).name} {problem}")
                else:
                    placed.add(number)
        slices = found.data.shape[3]
        if not placed and len(loose) == 1 and slices == 1:
            return "" if _same(loose[0], found, 0) else "the voxels of the only image differ"
        missing = sorted(set(range(slices)) - placed)
        if missing and unread:
            raise ValueError("; ".join(unread[:3]))
        if missing:
            return f"no image of the file is slice {missing[:3]}; " + "; ".join(problems[:3])
        if problems and path.is_dir() and "series" not in options:
            return f"images left out: {'; '.join(problems[:3])}"
        return ""

    return check


def _is_scan(item: Dataset) -> bool:
    words = item.get("ImageType") or ()
    return (
        str(item.file_meta.get("MediaStorageSOPClassUID", "")) != _DIRECTORY
        and "PixelData" in item
        and str(item.get("Modality", "")) not in _NO_SCAN
        and "LOCALIZER" not in words
    )


def _placed(plane: Plane, found: Found) -> tuple[int, str]:
    """The slice of medseg's grid that this frame is, or what is wrong."""
    assert plane.origin is not None
    assert plane.along is not None
    assert plane.down is not None
    index = np.linalg.solve(found.affine, [*plane.origin, 1.0])[:3]
    number = round(float(index[2])) if np.isfinite(index[2]) and abs(index[2]) < 1e6 else -1
    if not 0 <= number < found.data.shape[3]:
        return number, f"lies at index {index[2]:.3g}, not in the volume"
    rows, columns = plane.values.shape[:2]
    for column, row in ((0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)):
        there = plane.origin + column * plane.along + row * plane.down
        ours = found.affine @ (column, row, number, 1)
        away = float(np.linalg.norm(there - ours[:3]))
        if not away <= _PLACE_MM + 1e-9 * float(np.abs(there).max()):
            return number, f"lies {away:.3g} mm away"
    return number, "" if _same(plane, found, number) else f"has other values than slice {number}"


def _same(plane: Plane, found: Found, number: int) -> bool:
    from tests.acceptance.files.oracle import same_numbers

    values = plane.values if plane.values.ndim == 3 else plane.values[..., None]
    ours = found.data[..., number]
    return ours.shape == values.T.shape and same_numbers(ours, values.transpose(2, 1, 0))


def _check_with_dcm2niix(path: Path, options: dict[str, Any], found: Found) -> str:
    """Every voxel at its world point in a volume that dcm2niix makes: the one that knows mosaics."""
    import nibabel

    from tests.acceptance.files.oracle import same_numbers

    with tempfile.TemporaryDirectory() as folder:
        command = ["dcm2niix", "-p", "n", "-b", "n", "-f", "%j_%s", "-o", folder, str(path.parent)]
        subprocess.run(command, check=True, capture_output=True, timeout=20)
        problems = []
        for made in sorted(Path(folder).glob("*.nii")):
            image = nibabel.load(made)
            values = np.asanyarray(image.dataobj)
            index = np.indices(found.data.shape[1:]).reshape(3, -1)
            there = np.linalg.solve(image.affine, found.affine) @ np.vstack([index, np.ones(index.shape[1])])
            nearest = np.rint(there[:3]).astype(int)
            if values.shape != tuple(np.ptp(nearest, axis=1) + 1) or np.abs(there[:3] - nearest).max() > 0.01:
                problems.append(f"another grid, {values.shape}")
            elif same_numbers(found.data[0].ravel(), values[tuple(nearest)]):
                return ""
            else:
                problems.append("other values")
    return "; ".join(problems) or "nothing made of it"


Check = Callable[[Path, dict[str, Any], "Found"], str]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("pydicom", _check_scan(decoded_by_pydicom, objects)),
    ("dcmtk", _check_scan(decoded_by_pydicom, _converted_by_dcmtk)),
    ("GDCM", _check_scan(_decoded_by_simpleitk, objects)),
    ("dcm2niix", _check_with_dcm2niix),
)
