"""Where carried sums wait: pieces of the network's grid, in memory or in a scratch file."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medseg.errors import WriteFailed

Shape = tuple[int, ...]
Make = Callable[[Shape], Any]
Region = tuple[slice, ...]


class Store(Protocol):
    """Keeps arrays: `put` what `make` made and the caller has filled, `take` it back once."""

    def make(self, shape: Shape) -> Any:
        """An array to fill; its values are arbitrary."""
        ...

    def put(self, array: Any) -> Any:
        """Keep an array; returns what `take` wants."""
        ...

    def take(self, kept: Any) -> Any:
        """The array again."""
        ...

    def free(self, array: Any) -> None:
        """The caller is done with an array that it took or made."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class MemoryStore:
    """Arrays that stay where they are. Memory is reused by size, as the sizes repeat."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._free: dict[int, list[Any]] = defaultdict(list)

    def make(self, shape: Shape) -> Any:
        count = int(np.prod(shape))
        if not self._free[count]:
            self._free.clear()  # of other sizes: memory must not pile up where sizes change
            return self._make((count,)).reshape(shape)
        return self._free[count].pop().reshape(shape)

    def put(self, array: Any) -> Any:
        return array

    def take(self, kept: Any) -> Any:
        return kept

    def free(self, array: Any) -> None:
        flat = array.reshape(-1)
        self._free[flat.shape[0]].append(flat)

    def close(self) -> None:
        self._free.clear()


class DiskStore:
    """Arrays in one scratch file without a name, which vanishes with the process however that ends.

    Parameters
    ----------
    folder
        Where the file lies; None is the system's temporary folder.
    dtype
        Of all arrays.
    """

    def __init__(self, folder: Path | None, dtype: Any) -> None:
        self._buffers = MemoryStore(lambda shape: np.empty(shape, dtype))
        try:
            self._file = tempfile.TemporaryFile(dir=folder, prefix="medseg-", buffering=0)  # noqa: SIM115
        except OSError as error:
            where = folder or tempfile.gettempdir()
            raise WriteFailed(f"{where}: no scratch file can be made there: {error.strerror}") from error
        self._where = str(folder or tempfile.gettempdir())
        self.size = 0  # of the file
        self._holes: dict[int, list[int]] = defaultdict(list)

    def make(self, shape: Shape) -> Any:
        return self._buffers.make(shape)

    def put(self, array: Any) -> tuple[int, Shape]:
        holes = self._holes[array.nbytes]
        offset = holes.pop() if holes else self.size
        self.size = max(self.size, offset + array.nbytes)
        try:
            self._file.seek(offset)
            _write_all(self._file, memoryview(array).cast("B"))
        except OSError as error:
            raise WriteFailed(
                f"{self._where}: the scratch file could not be written ({error.strerror}): free some room, "
                "give another folder with --scratch, or allow more memory"
            ) from error
        self._buffers.free(array)
        return offset, array.shape

    def take(self, kept: tuple[int, Shape]) -> Any:
        offset, shape = kept
        array = self._buffers.make(shape)
        self._file.seek(offset)
        view = memoryview(array).cast("B")
        while view:
            count = self._file.readinto(view)
            if not count:
                raise WriteFailed(f"{self._where}: the scratch file was cut short by something else")
            view = view[count:]
        self._holes[array.nbytes].append(offset)
        return array

    def free(self, array: Any) -> None:
        self._buffers.free(array)

    def close(self) -> None:
        self._file.close()
        self._buffers.close()


class Cells:
    """Sums of regions of a plane (or of a line) between windows, in whichever cuts they are asked for.

    Regions that are put and taken begin and end at known cuts along each axis; between two cuts lies a
    cell, and each cell is one array, so that a region put in one shape can be taken in another.

    Parameters
    ----------
    cuts
        Along each axis of the plane every index at which a region may begin or end.
    store
        Where the arrays wait.
    """

    def __init__(self, cuts: Sequence[set[int]], store: Store) -> None:
        self._cuts = [sorted(along) for along in cuts]
        self._store = store
        self._kept: dict[tuple[int, ...], Any] = {}

    def make(self, region: Region, shape: Callable[[Shape], Shape]) -> list[tuple[Region, Any]]:
        """An array to fill for each cell of a region; ``shape`` turns a cell's size into an array's shape.

        Every array comes with its cell's place, counted from the region's start.
        """
        return [
            (_relative(cell, region), self._store.make(shape(tuple(s.stop - s.start for s in cell))))
            for cell in self._cells(region)
        ]

    def put(self, region: Region, filled: Sequence[tuple[Region, Any]]) -> None:
        """Keep what `make` gave for the region; nothing, where it was not asked."""
        if not filled:
            return
        for cell, (_, array) in zip(self._cells(region), filled, strict=True):
            self._kept[tuple(s.start for s in cell)] = self._store.put(array)

    def take(self, region: Region) -> list[tuple[Region, Any]]:
        """The arrays of a region's cells with their places; cells that hold nothing are left out."""
        taken = []
        for cell in self._cells(region):
            kept = self._kept.pop(tuple(s.start for s in cell), None)
            if kept is not None:
                taken.append((_relative(cell, region), self._store.take(kept)))
        return taken

    def free(self, arrays: Sequence[tuple[Region, Any]]) -> None:
        """The caller is done with what it took."""
        for _, array in arrays:
            self._store.free(array)

    def _cells(self, region: Region) -> Iterator[Region]:
        along = []
        for cuts, wanted in zip(self._cuts, region, strict=True):
            inside = [cut for cut in cuts if wanted.start <= cut <= wanted.stop]
            along.append([slice(a, b) for a, b in itertools.pairwise(inside)])
        yield from itertools.product(*along)


def free_disk(folder: Path | None) -> int:
    """Bytes that a scratch file in the folder may take; 0 where the folder is memory or cannot be written."""
    import shutil

    where = Path(folder or tempfile.gettempdir())
    if not os.access(where, os.W_OK) or _is_memory(where):
        return 0
    return shutil.disk_usage(where).free


def _is_memory(folder: Path) -> bool:
    """Whether a folder's files take memory, not disk (tmpfs), as far as the system tells."""
    mounts = Path("/proc/mounts")
    if not mounts.is_file():
        return False
    resolved = str(folder.resolve())
    best, kind = "", ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, point, form, *_ = line.split(" ")
        if (resolved == point or resolved.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, form
    return kind in ("tmpfs", "ramfs")


def _write_all(stream: Any, view: memoryview) -> None:
    while view:
        count = stream.write(view)
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[count:]


def _relative(cell: Region, region: Region) -> Region:
    return tuple(
        slice(s.start - whole.start, s.stop - whole.start) for s, whole in zip(cell, region, strict=True)
    )
