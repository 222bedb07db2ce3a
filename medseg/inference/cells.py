"""Where carried sums wait: pieces of the network's grid, in memory or in a scratch file."""

from __future__ import annotations

import itertools
import mmap
import os
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medseg.errors import WriteFailed

Shape = tuple[int, ...]
Make = Callable[[Shape], Any]
Region = tuple[slice, ...]


class Piece(Protocol):
    """An array (K, x, y, z) that waits somewhere."""

    def load(self, channels: slice, part: Region) -> Any:
        """Some channels of a part, in memory that the next call in this thread may use again."""
        ...

    def save(self, channels: slice, part: Region, values: Any) -> None:
        """Set some channels of a part; what lies outside of the part is lost."""
        ...


class Store(Protocol):
    """Makes pieces and takes them back."""

    def make(self, shape: Shape) -> Piece:
        """A piece whose values are arbitrary."""
        ...

    def free(self, piece: Any) -> None:
        """Take a piece back: its room is used again."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MemoryPiece:
    """A piece in memory: a numpy array or a torch tensor."""

    array: Any

    def load(self, channels: slice, part: Region) -> Any:
        return self.array[(channels, *part)]

    def save(self, channels: slice, part: Region, values: Any) -> None:
        self.array[(channels, *part)] = values


def mapped(shape: Shape, dtype: Any) -> NDArray[Any]:
    """An array of arbitrary values whose memory goes back to the system as soon as nobody holds it.

    What malloc gives may be kept for later, in pieces that fit nothing: gigabytes, with arrays like these.
    """
    kind, count = np.dtype(dtype), int(np.prod(shape))
    memory = mmap.mmap(-1, max(count * kind.itemsize, 1))
    if hasattr(mmap, "MADV_HUGEPAGE"):  # as numpy does: the first touch of every small page costs
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, kind, count).reshape(shape)


class MemoryStore:
    """Pieces in memory, which is used again by size, as the sizes repeat."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._free: dict[int, list[Any]] = defaultdict(list)

    def make(self, shape: Shape) -> MemoryPiece:
        count = int(np.prod(shape))
        if self._free[count]:
            return MemoryPiece(self._free[count].pop().reshape(shape))
        self._free.clear()  # of other sizes: memory must not pile up where sizes change
        return MemoryPiece(self._make((count,)).reshape(shape))

    def free(self, piece: MemoryPiece) -> None:
        flat = piece.array.reshape(-1)
        self._free[flat.shape[0]].append(flat)

    def close(self) -> None:
        self._free.clear()


@dataclass(frozen=True, slots=True, eq=False)
class DiskPiece:
    """A piece in a scratch file, channel after channel."""

    store: DiskStore
    offset: int
    shape: Shape

    def load(self, channels: slice, part: Region) -> Any:
        buffer = self._buffer(channels)
        self.store.read(self._start(channels), buffer)
        return buffer[(slice(None), *part)]

    def save(self, channels: slice, part: Region, values: Any) -> None:
        buffer = self._buffer(channels)
        buffer[(slice(None), *part)] = values
        self.store.write(self._start(channels), buffer)

    def _buffer(self, channels: slice) -> Any:
        return self.store.buffer((channels.stop - channels.start, *self.shape[1:]))

    def _start(self, channels: slice) -> int:
        return self.offset + int(channels.start * np.prod(self.shape[1:])) * self.store.itemsize


class DiskStore:
    """Pieces in one scratch file without a name, which vanishes with the process however that ends.

    Parameters
    ----------
    folder
        Where the file lies; None is the system's temporary folder.
    dtype
        Of all pieces.

    Raises
    ------
    WriteFailed
        If the file cannot be made; later, if the disk is full.
    """

    def __init__(self, folder: Path | None, dtype: Any) -> None:
        self._where = Path(folder or tempfile.gettempdir())
        try:
            self._file = tempfile.TemporaryFile(dir=self._where, prefix="medseg-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise WriteFailed(
                f"{self._where}: no scratch file can be made there: {error.strerror}"
            ) from error
        self._dtype = np.dtype(dtype)
        self.itemsize = int(self._dtype.itemsize)
        self.size = 0  # of the file
        self._holes: dict[int, list[int]] = defaultdict(list)
        self._lock = threading.Lock()
        self._local = threading.local()

    def make(self, shape: Shape) -> DiskPiece:
        count = int(np.prod(shape)) * self.itemsize
        offset = self._holes[count].pop() if self._holes[count] else self.size
        self.size = max(self.size, offset + count)
        return DiskPiece(self, offset, shape)

    def free(self, piece: DiskPiece) -> None:
        self._holes[int(np.prod(piece.shape)) * self.itemsize].append(piece.offset)

    def close(self) -> None:
        self._file.close()

    def buffer(self, shape: Shape) -> Any:
        """An array that this thread may use until it asks for the next."""
        count = int(np.prod(shape))
        if getattr(self._local, "flat", None) is None or self._local.flat.size < count:
            self._local.flat = np.zeros(count, self._dtype)
        return self._local.flat[:count].reshape(shape)

    def read(self, offset: int, array: Any) -> None:
        """Fill an array from the file."""
        view = memoryview(array).cast("B")
        with self._lock:
            self._file.seek(offset)
            while view:
                count = self._file.readinto(view)
                if not count:
                    raise WriteFailed(f"{self._where}: the scratch file was cut short by something else")
                view = view[count:]

    def write(self, offset: int, array: Any) -> None:
        """Write an array into the file."""
        view = memoryview(array).cast("B")
        try:
            with self._lock:
                self._file.seek(offset)
                while view:
                    view = view[self._file.write(view) :]
        except OSError as error:
            raise WriteFailed(
                f"{self._where}: the scratch file could not be written ({error.strerror}): free some room, "
                "give another folder with --scratch, or allow more memory"
            ) from error


class Cells:
    """Sums of regions of a plane (or of a line) between windows, in whichever cuts they are asked for.

    Regions that are made and taken begin and end at known cuts along each axis; between two cuts lies a
    cell, and each cell is one piece, so that a region made in one shape can be taken in another.

    Parameters
    ----------
    cuts
        Along each axis of the plane every index at which a region may begin or end.
    store
        Where the pieces wait.
    """

    def __init__(self, cuts: Sequence[set[int]], store: Store) -> None:
        self._cuts = [sorted(along) for along in cuts]
        self._store = store
        self._kept: dict[tuple[int, ...], Piece] = {}

    def make(self, region: Region, shape: Callable[[Shape], Shape]) -> list[tuple[Region, Piece]]:
        """A piece to fill for each cell of a region; ``shape`` turns a cell's size into a piece's shape.

        Every piece comes with its cell's place, counted from the region's start.
        """
        made = []
        for cell in self._cells(region):
            piece = self._store.make(shape(tuple(s.stop - s.start for s in cell)))
            self._kept[tuple(s.start for s in cell)] = piece
            made.append((_relative(cell, region), piece))
        return made

    def take(self, region: Region) -> list[tuple[Region, Piece]]:
        """The pieces of a region's cells with their places; cells that hold nothing are left out."""
        taken = []
        for cell in self._cells(region):
            piece = self._kept.pop(tuple(s.start for s in cell), None)
            if piece is not None:
                taken.append((_relative(cell, region), piece))
        return taken

    def free(self, pieces: Sequence[tuple[Region, Piece]]) -> None:
        """The caller is done with what it took."""
        for _, piece in pieces:
            self._store.free(piece)

    def _cells(self, region: Region) -> Iterator[Region]:
        along = []
        for cuts, wanted in zip(self._cuts, region, strict=True):
            inside = [cut for cut in cuts if wanted.start <= cut <= wanted.stop]
            along.append([slice(a, b) for a, b in itertools.pairwise(inside)])
        yield from itertools.product(*along)


def free_disk(folder: Path | None) -> int:
    """Bytes that a scratch file in the folder may take; 0 where the folder is memory or cannot be written."""
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


def _relative(cell: Region, region: Region) -> Region:
    return tuple(
        slice(s.start - whole.start, s.stop - whole.start) for s, whole in zip(cell, region, strict=True)
    )
