"""NYU Depth v2: 1449 labelled RGB-D pictures in one MATLAB file of version 7.3, which is HDF5.

Source of the layout: https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html, "Labeled Dataset": images
HxWx3xN, depths HxWxN in metres, labels HxWxN (1 to C, 0 unlabelled), names Cx1 cells. HDF5 holds MATLAB's
axes in reverse, so that one picture is (channel, column, row), medseg's own order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.datasets.sources.pictures import RGB
from medseg.datasets.sources.survey import Example, SourceCase, SourceOptions, Survey
from medseg.errors import InputRefused, MissingExtra
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.volume import LabelMap, Source, Volume

_NEEDED = {"images": 4, "depths": 3, "labels": 3}
_MOST_PICTURES, _MOST_CLASSES, _LONGEST_NAME, _LARGEST_SIDE = 100_000, 10_000, 200, 8192
_MARK = b"\x89HDF\r\n\x1a\n"


def home(path: Path) -> bool:
    """Whether the file is a MATLAB file of version 7.3: HDF5 behind a block of 512 bytes."""
    if not path.is_file() or path.suffix.lower() != ".mat":
        return False
    with path.open("rb") as file:
        start = file.read(512 + len(_MARK))
    return start.startswith(_MARK) or start[512:] == _MARK


def survey(path: Path, _: SourceOptions) -> Survey:
    """One case per picture, ``nyu_0001`` on, with files ``rgb`` and ``depth`` (float32, metres)."""
    if not path.is_file():
        raise InputRefused(
            f"{path}: expected a file, nyu_depth_v2_labeled.mat", code="unknown-layout", path=path
        )
    with _opened(path) as file:
        count, names = _count(path, file), _names(path, file)
    labels = LabelSet.from_names({0: "unlabelled", **dict(enumerate(names, start=1))})
    cases = tuple(
        SourceCase(f"nyu_{n + 1:04d}", (path,), partial(_read, path, n, labels), part=str(n))
        for n in range(count)
    )
    return Survey("nyu-depth", path.stem, ("rgb", "depth"), (*RGB, "depth"), labels, cases)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra("NYU Depth v2 is an HDF5 file: pip install h5py, or 'medseg[train]'") from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise InputRefused(
            f"{path.name}: no HDF5 file that can be read ({error}): download it again",
            code="corrupt",
            path=path,
        ) from error


def _own(path: Path, file: Any, name: str) -> Any:
    """A data set that lies in the file itself: a link could lead to any other file of the computer."""
    import h5py

    link = file.get(name, getlink=True)
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise InputRefused(
            f"{path.name}: no data set {name!r} in the file itself: expected images, depths, labels and "
            f"names, as in nyu_depth_v2_labeled.mat",
            code="bad-header",
            path=path,
        )
    return found


def _count(path: Path, file: Any) -> int:
    """How many pictures there are, after all shapes and types have been held against each other."""
    sets = {name: _own(path, file, name) for name in _NEEDED}
    shapes = {name: tuple(found.shape) for name, found in sets.items()}
    images, depths, labels = shapes["images"], shapes["depths"], shapes["labels"]
    fits = (
        all(len(shapes[name]) == axes for name, axes in _NEEDED.items())
        and images[1] == len(RGB)
        and images[:1] + images[2:] == depths == labels
        and max(depths[1:]) <= _LARGEST_SIDE
        and sets["images"].dtype == np.uint8
        and sets["depths"].dtype.kind == "f"
        and sets["labels"].dtype.kind == "u"
    )
    if not fits or not 1 <= depths[0] <= _MOST_PICTURES:
        raise InputRefused(
            f"{path.name}: images {images}, depths {depths}, labels {labels}: expected (N, 3, columns, rows) "
            f"of 8 bits and twice (N, columns, rows), as in nyu_depth_v2_labeled.mat",
            code="bad-header",
            path=path,
        )
    return int(depths[0])


def _names(path: Path, file: Any) -> list[str]:
    """Names of the classes from 1 on; each cell refers to text in UTF-16."""
    cells = _own(path, file, "names")[...].ravel()
    texts = [_text(file, cell) for cell in cells[:_MOST_CLASSES]]
    if not texts or len(cells) > _MOST_CLASSES or None in texts or len(set(texts)) < len(texts):
        raise InputRefused(
            f"{path.name}: 'names' is no list of different names of classes: download the file again",
            code="bad-labels",
            path=path,
        )
    return [text for text in texts if text is not None]


def _text(file: Any, cell: object) -> str | None:
    import h5py

    found = file[cell] if isinstance(cell, h5py.Reference) and cell else None
    if (
        not isinstance(found, h5py.Dataset)
        or found.external
        or found.dtype != np.uint16
        or found.size > _LONGEST_NAME
    ):
        return None
    return "".join(map(chr, found[...].ravel().tolist())).strip() or None


def _read(path: Path, n: int, labels: LabelSet) -> Example:
    with _opened(path) as file:
        rgb, depth, ids = (_own(path, file, name)[n] for name in _NEEDED)
    grid = Geometry((*ids.shape, 1), np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True, spacing_known=False)
    ids = ids.astype(np.uint16)[..., None]
    return Example(
        (_volume(rgb, grid, path), _volume(depth[None].astype(np.float32), grid, path)),
        (LabelMap(ids, grid, _with(labels, ids)),),
    )


def _volume(data: NDArray[Any], grid: Geometry, path: Path) -> Volume:
    return Volume(data[..., None], grid, Source((path,)))


def _with(labels: LabelSet, ids: NDArray[Any]) -> LabelSet:
    """The label set, with a name for ids beyond it: the import refuses these by name."""
    extra = {int(i): f"label {int(i)}" for i in np.unique(ids) if i and int(i) not in labels.ids}
    return LabelSet.from_names({**dict(zip(labels.ids, labels.names, strict=True)), **extra})
