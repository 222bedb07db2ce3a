"""What medseg says of every scan under some folders, beside what dcm2niix and nibabel read there: one table.

    python benchmarks/file_verdicts.py ../shared/data/dicom ../shared/data/nifti > verdicts.md

A line per DICOM series of a folder that holds DICOM files, and per file of another format. Where medseg reads
the scan, "corner" is the largest distance in mm between its corner voxels and those of the same volume as the
oracle wrote or read it, and "voxels" says whether all values are equal there. dcm2niix (``-p n``) is the
oracle for DICOM, nibabel for NIfTI, Analyze and MGH, SimpleITK for NRRD and MetaImage.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medseg
from medseg.io.files import extension, is_dicom_file
from medseg.io.readers import is_label_file
from medseg.verdict import Verdict

_COLUMNS = (
    "path",
    "series",
    "verdict",
    "codes",
    "voxels",
    "spacing in mm",
    "oracle",
    "corner in mm",
    "equal",
)
_NIBABEL = (".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz")
_SIMPLEITK = (".nrrd", ".nhdr", ".mha", ".mhd")
_OTHER = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_REPAIRS = ("missing-slices", "uneven-spacing", "tilt")
Affine = NDArray[np.float64]


@dataclass(frozen=True)
class Other:
    """One volume as another program reads it: voxels (I, J, K) on an affine to RAS+ mm."""

    data: NDArray[Any]
    affine: Affine


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    path: str
    series: str
    verdict: Verdict
    volume: medseg.Volume | None
    oracle: str
    agreement: tuple[float, bool] | None

    def cells(self) -> tuple[str, ...]:
        """Its cells, in the order of the columns."""
        grid = None if self.volume is None else self.volume.geometry
        corner, equal = self.agreement or (None, None)
        return (
            self.path,
            self.series,
            self.verdict.status,
            ", ".join(self.verdict.codes) or "-",
            "-" if grid is None else " x ".join(map(str, grid.shape)),
            "-" if grid is None or not grid.spacing_known else " x ".join(f"{mm:.4g}" for mm in grid.spacing),
            self.oracle,
            "-" if corner is None else f"{corner:.1e}",
            "-" if equal is None else "yes" if equal else "NO",
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("roots", nargs="+", type=Path)
    parser.add_argument(
        "--repairs", action="store_true", help="lines for refused series with what cures them"
    )
    options = parser.parse_args(arguments)
    print("| " + " | ".join(_COLUMNS) + " |")
    print("|" + " --- |" * len(_COLUMNS))
    for root in options.roots:
        for line in lines(root, repairs=options.repairs):
            print("| " + " | ".join(cell.replace("|", "/") for cell in line.cells()) + " |", flush=True)


def lines(root: Path, *, repairs: bool = False) -> Iterator[Line]:
    """The rows of everything under a folder, or of a file."""
    if root.is_file():
        yield from _of_file(root, root.parent)
        return
    for folder in sorted({root, *(path for path in root.rglob("*") if path.is_dir())}):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if any(is_dicom_file(path) for path in files):
            yield from _of_dicom(folder, root, repairs)
        for path in files:
            if not is_dicom_file(path) and extension(path) in (*_NIBABEL, *_SIMPLEITK, *_OTHER):
                yield from _of_file(path, root)


def _of_dicom(folder: Path, root: Path, repairs: bool) -> Iterator[Line]:
    name = str(folder.relative_to(root.parent))
    with tempfile.TemporaryDirectory() as flat:
        # Its own files alone: subfolders have lines of their own.
        for path in folder.iterdir():
            if path.is_file():
                (Path(flat) / path.name).symlink_to(path.resolve())
        found = medseg.inspect(flat)
        others = dcm2niix(Path(flat))
        oracle = f"dcm2niix, {len(others)} volumes" if others else "dcm2niix reads nothing"
        if len(found.series) != 1:
            aside = "; ".join(item.message for item in found.set_aside)
            told = f"{len(found.series)} series" + (f"; set aside: {aside}" if aside else "")
            yield Line(name, told, found.verdict, None, oracle, None)
        for number, series in enumerate(found.series, 1):
            yield _judge(name, f"{number}: {series.summary}", Path(flat), number, (), oracle, others)
            words = tuple(code for code in series.verdict.codes if code in _REPAIRS)
            if repairs and words:
                told = f"{number}, allow {','.join(words)}"
                yield _judge(name, told, Path(flat), number, words, "-", [])
    for path in sorted(folder.iterdir()):
        if is_dicom_file(path) and is_label_file(path):
            yield _of_labels(path, root)


def _of_labels(path: Path, root: Path) -> Line:
    """A DICOM segmentation or structure set, in as many label maps as its overlaps take."""
    name = str(path.relative_to(root.parent))
    try:
        layers = medseg.read_label_layers(path)
    except medseg.InputRefused as refusal:
        return Line(name, "labels", Verdict.refusal(refusal), None, "-", None)
    structures = sum(len(layer.labels.labels) for layer in layers)
    told = f"{structures} structures in {len(layers)} label maps"
    first = medseg.Volume(layers[0].data[None], layers[0].geometry)
    return Line(name, told, layers[0].verdict, first, "-", None)


def _of_file(path: Path, root: Path) -> Iterator[Line]:
    name = str(path.relative_to(root.parent))
    oracle, others = ("-", []) if is_dicom_file(path) else _by_format(path)
    yield _judge(name, "", path, None, (), oracle, others)


def _judge(
    name: str,
    series: str,
    path: Path,
    number: int | None,
    allow: tuple[str, ...],
    oracle: str,
    others: Sequence[Other],
) -> Line:
    try:
        volume = medseg.read(path, series=number, allow=allow)
    except medseg.InputRefused as refusal:
        return Line(name, series, Verdict.refusal(refusal), None, oracle, None)
    return Line(name, series, volume.verdict, volume, oracle, best_agreement(volume, others))


def best_agreement(volume: medseg.Volume, others: Sequence[Other]) -> tuple[float, bool] | None:
    """(corner distance in mm, voxels equal) with the one of ``others`` that agrees best; None of none."""
    found = [agreement for other in others if (agreement := agree(volume, other)) is not None]
    return min(found, key=lambda pair: (not pair[1], pair[0]), default=None)


def agree(volume: medseg.Volume, other: Other) -> tuple[float, bool] | None:
    """(corner distance in mm, voxels equal) of two volumes; None where the shapes cannot be one grid."""
    turned = _turned(volume, other)
    if turned is None or len(volume.data) != 1 or volume.geometry.is_2d:
        return None  # also a plane without a place in the patient: every program puts it elsewhere
    distance = np.linalg.norm(
        volume.geometry.corners - medseg.Geometry(volume.geometry.shape, turned.affine).corners, axis=1
    )
    equal = np.allclose(turned.data, volume.data[0], rtol=1e-5, atol=1e-3, equal_nan=True)
    return float(distance.max()), equal


def _turned(volume: medseg.Volume, other: Other) -> Other | None:
    """The other volume with its axes permuted and flipped to run along ours; None where shapes differ."""
    ours, theirs = volume.geometry.affine[:3, :3], other.affine[:3, :3]
    cosines = (ours / np.linalg.norm(ours, axis=0)).T @ (theirs / np.linalg.norm(theirs, axis=0))
    axes = max(permutations(range(3)), key=lambda p: sum(abs(cosines[a, p[a]]) for a in range(3)))
    data = other.data.transpose(axes)
    if data.shape != volume.geometry.shape:
        return None
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = theirs[:, axes], other.affine[:3, 3]
    for axis in range(3):
        if cosines[axis, axes[axis]] < 0:
            data = np.flip(data, axis)
            matrix[:3, 3] += matrix[:3, axis] * (data.shape[axis] - 1)
            matrix[:3, axis] *= -1
    return Other(data, matrix)


def dcm2niix(folder: Path) -> list[Other]:
    """Every volume that dcm2niix writes from the files of a folder; none where it is not installed."""
    if shutil.which("dcm2niix") is None:
        return []
    with tempfile.TemporaryDirectory() as out:
        command = [
            "dcm2niix",
            "-p",
            "n",
            "-b",
            "n",
            "-z",
            "n",
            "-d",
            "0",
            "-f",
            "%s_%r",
            "-o",
            out,
            str(folder),
        ]
        subprocess.run(command, capture_output=True, check=False, timeout=600)
        return [other for path in sorted(Path(out).glob("*.nii")) for other in _by_nibabel(path)]


def _by_format(path: Path) -> tuple[str, list[Other]]:
    try:
        if extension(path) in _NIBABEL:
            return "nibabel", _by_nibabel(path)
        if extension(path) in _SIMPLEITK:
            return "SimpleITK", _by_simpleitk(path)
    except Exception as error:  # noqa: BLE001  (whatever the other program does, the table says so)
        return f"{'nibabel' if extension(path) in _NIBABEL else 'SimpleITK'}: {type(error).__name__}", []
    return "-", []


def _by_nibabel(path: Path) -> list[Other]:
    import nibabel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = nibabel.load(path)
        data = np.asanyarray(image.dataobj)
    if data.dtype.fields is not None:
        return []
    data = data.reshape((*data.shape, 1, 1, 1)[: max(3, data.ndim)])
    volumes = data.reshape((*data.shape[:3], -1), order="F")
    return [Other(volumes[..., n], np.asarray(image.affine)) for n in range(volumes.shape[3])]


def _by_simpleitk(path: Path) -> list[Other]:
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        return []
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return [Other(SimpleITK.GetArrayFromImage(image).T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)]


if __name__ == "__main__":
    main()
