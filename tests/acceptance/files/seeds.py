"""Seeds: small whole files of every kind, from which the mutated ones are made.

Written by the libraries that other people use (pydicom, highdicom, nibabel, SimpleITK, Pillow, tifffile,
dcmtk), never by medseg's own writers. Every text field that a format has names the patient of `canary`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[3]
SHAPE = (5, 7, 4)


@dataclass(frozen=True, slots=True)
class Seed:
    """Some files that are one scan, and how to read it.

    Parameters
    ----------
    family, name
        The format, as ``--format`` has it, and what is special about this one.
    files
        Contents by path inside a folder.
    target
        What is read: a path in that folder, ``""`` the folder itself.
    verb, options
        ``"read"`` or ``"read_labels"``, and its keywords; ``scan`` is a path in the folder.
    mutable
        Which files may be mutated; all of them unless told.
    """

    family: str
    name: str
    files: dict[str, bytes]
    target: str
    verb: str = "read"
    options: dict[str, Any] = field(default_factory=dict)
    mutable: tuple[str, ...] = ()

    def write(self, folder: Path, changed: dict[str, bytes] | None = None) -> None:
        """Lay the files down, some of them changed."""
        for name, content in {**self.files, **(changed or {})}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def lone(family: str, path: Path, **more: Any) -> Seed:
    """A seed of one file."""
    return Seed(family, path.name, {path.name: path.read_bytes()}, path.name, **more)


def gathered(family: str, name: str, folder: Path, target: str = "", **more: Any) -> Seed:
    """A seed of all files in a folder."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return Seed(family, name, files, target, **more)


def make_seeds(family: str, folder: Path) -> list[Seed]:
    """All seeds of a family, made in ``folder``; real files of that kind among them, where there are any."""
    from tests.acceptance.files import seeds_dicom, seeds_labels, seeds_pictures, seeds_volumes

    makers: dict[str, Callable[[Path], Iterator[Seed]]] = {
        "dicom": seeds_dicom.dicom,
        "seg": seeds_labels.seg,
        "rtstruct": seeds_labels.rtstruct,
        "nifti": seeds_volumes.nifti,
        "nrrd": seeds_volumes.nrrd,
        "metaimage": seeds_volumes.metaimage,
        "mgh": seeds_volumes.mgh,
        "pictures": seeds_pictures.pictures,
    }
    place = folder / family
    place.mkdir(parents=True)
    return list(makers[family](place))


FAMILIES = ("dicom", "seg", "rtstruct", "nifti", "nrrd", "metaimage", "mgh", "pictures")


def real_data() -> Path | None:
    """The folder of real scans, or None: MEDSEG_TEST_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("MEDSEG_TEST_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def oblique_affine() -> NDArray[np.float64]:
    """RAS+ mm: oblique, anisotropic, far from the origin."""
    x, y, z = 0.2, -0.3, 0.4
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x * (0.7, 1.1, 2.3)
    affine[:3, 3] = (-31.4, 12.7, 55.9)
    return affine


def voxels(dtype: str = "i2", shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    """Numbers, no two alike where the type has room."""
    count = int(np.prod(shape))
    numbers = np.random.default_rng(7).permutation(count).reshape(shape)
    return (numbers % 251 if np.dtype(dtype).itemsize == 1 else numbers - 60 * (dtype[0] == "i")).astype(
        dtype
    )
