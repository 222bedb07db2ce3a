"""Maps of probability and entropy into a Zarr group, box by box while the labels are being made.

The group holds ``probabilities`` (K, i, j, k), one entry along the first axis per output channel of the
network, and ``entropy`` (i, j, k) in nats, on the scan's own grid. Zarr format 2, which every reader
knows (zarr, dask, tensorstore, ITK, MATLAB's and Java's toolboxes; several still lack format 3).

Values are float16: at most 0.00025 off where they are below 1, 0.001 below 4 (entropy), half the size. What
is below 0.00006 becomes 0; chunks of nothing else, of classes that are nowhere near, are not stored at all.
"""

from __future__ import annotations

import itertools
import shutil
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import __version__
from medseg.errors import NotFound, WriteFailed
from medseg.geometry import Geometry
from medseg.io.files import put_folder, remove_stale, temporary_path

NAMES = ("probabilities", "entropy")

Box = tuple[slice, slice, slice]
_Corner = tuple[int, int, int]

_CHUNK = 64
# The smallest normal float16. Smaller ones are not worth it: converting to them takes thirty times as long.
_SMALLEST = np.float32(2.0**-14)
# What waits for the rest of its chunk. Beyond it the oldest is stored unfinished, and read again later.
_WAITING_BYTES = 64_000_000


class ZarrMaps:
    """Takes maps box by box, in any order, and puts the group under its name once all of it is there.

    Made beside ``path`` under a temporary name. `save` gives it its name; `discard` removes it, and may be
    called at any time. A process that is killed leaves the temporary folder, which the next one removes.

    Parameters
    ----------
    path
        The group's folder, ``.zarr``. Its parent must exist.
    geometry
        The scan's own grid.
    channels
        Name and label id of each output channel of the network; 0 for background.
    names
        Which maps: some of ``"probabilities"`` and ``"entropy"``.
    waiting_bytes
        Memory for chunks that are not complete yet; ``held_bytes`` is what they may take of it.

    Raises
    ------
    NotFound
        If the parent of ``path`` does not exist.
    WriteFailed
        If the system refuses the write.
    """

    def __init__(
        self,
        path: Path,
        geometry: Geometry,
        channels: Sequence[tuple[str, int]],
        names: Collection[str],
        *,
        waiting_bytes: int = _WAITING_BYTES,
    ) -> None:
        if not path.parent.is_dir():
            raise NotFound(f"{path.parent}: no such folder to write {path.name} into; create it first")
        self.path = path
        self.names = frozenset(names)
        self._geometry, self._channels = geometry, tuple(channels)
        values = len(channels) * ("probabilities" in names) + ("entropy" in names)
        self.held_bytes = min(waiting_bytes, 2 * values * int(np.prod(geometry.shape)))
        remove_stale(path.parent)
        self._begin()

    def _begin(self) -> None:
        self._temporary = temporary_path(self.path)
        with _refusals(self.path):
            group = _new_group(self._temporary, self._geometry, self._channels)
            self._maps = {
                name: _Map(_new_array(group, name, self._geometry.shape, self._channels))
                for name in NAMES
                if name in self.names
            }

    def restart(self) -> None:
        """Forget what has come; every voxel comes anew."""
        self.discard()
        self._begin()

    def write(self, name: str, box: Box, values: NDArray[np.float32]) -> None:
        """Take a box: probabilities (K, i, j, k) or entropy (i, j, k). Every voxel comes once."""
        with _refusals(self.path):
            self._maps[name].take(box, values if values.ndim == 4 else values[None])
            while sum(one.waiting_bytes for one in self._maps.values()) > self.held_bytes:
                max(self._maps.values(), key=lambda one: one.waiting_bytes).store_oldest()

    def save(self) -> Path:
        """Store what waits, read all of it back and compare, and give the group its name.

        Replaces a group that is there. Returns ``path``.

        Raises
        ------
        WriteFailed
            If the group is incomplete or does not read back as it was written; it is removed then.
        """
        try:
            with _refusals(self.path):
                for name, one in self._maps.items():
                    one.finish(f"{self.path.name}/{name}")
                put_folder(self._temporary, self.path)
        finally:
            self.discard()
        return self.path

    def discard(self) -> None:
        """Remove the temporary folder, if it is still there."""
        shutil.rmtree(self._temporary, ignore_errors=True)


@dataclass(slots=True, eq=False)
class _Map:
    """One array: channels that wait for the rest of their chunk, and checksums of those that are stored.

    A chunk is one channel and a cube of voxels. Channels whose values in a box are all 0 take no part in it.
    """

    array: Any
    _waiting: OrderedDict[_Corner, dict[int, NDArray[np.float16]]] = field(default_factory=OrderedDict)
    _stored: dict[tuple[int, _Corner], int] = field(default_factory=dict)
    _filled: dict[_Corner, int] = field(default_factory=dict)
    waiting_bytes: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = self.array.shape[-3:]
        return i, j, k

    def take(self, box: Box, values: NDArray[np.float32]) -> None:
        """Values (channels, i, j, k) of a box."""
        occupied = [n for n, one in enumerate(values) if one.max() >= _SMALLEST]
        halves = {n: (values[n] * (values[n] >= _SMALLEST)).astype(np.float16) for n in occupied}
        for corner in _corners(box):
            whole = self._cube(corner)
            common = tuple(
                slice(max(b.start, w.start), min(b.stop, w.stop)) for b, w in zip(box, whole, strict=True)
            )
            there, here = _inside(common, box), _inside(common, whole)
            waiting = self._waiting.setdefault(corner, {})
            self._waiting.move_to_end(corner)
            for channel, half in halves.items():
                part = half[there]
                if channel in waiting:
                    waiting[channel][here] = part
                elif part.view(np.uint16).any():  # ten times as fast as of float16
                    waiting[channel] = self._begin(channel, corner)
                    waiting[channel][here] = part
            self._filled[corner] = self._filled.get(corner, 0) + _voxels(common)
            if self._filled[corner] == _voxels(whole):
                self._store(corner)

    def store_oldest(self) -> None:
        """Store the cube that was touched longest ago."""
        self._store(next(iter(self._waiting)))

    def finish(self, name: str) -> None:
        """Store what waits, and compare all that is stored with what was given."""
        while self._waiting:
            self.store_oldest()
        if sum(self._filled.values()) != np.prod(self.shape):
            raise WriteFailed(f"{name}: {sum(self._filled.values())} of {np.prod(self.shape)} voxels came")
        for (channel, corner), checksum in self._stored.items():
            if _checksum(self._read(channel, corner)) != checksum:
                raise WriteFailed(f"{name}: did not read back as it was written; nothing was kept")

    def _begin(self, channel: int, corner: _Corner) -> NDArray[np.float16]:
        if (channel, corner) in self._stored:
            cube = self._read(channel, corner)
        else:
            cube = np.zeros([s.stop - s.start for s in self._cube(corner)], np.float16)
        self.waiting_bytes += cube.nbytes
        return cube

    def _store(self, corner: _Corner) -> None:
        for channel, cube in self._waiting.pop(corner).items():
            self.array[self._place(channel, corner)] = cube
            self._stored[channel, corner] = _checksum(cube)
            self.waiting_bytes -= cube.nbytes

    def _read(self, channel: int, corner: _Corner) -> NDArray[np.float16]:
        return np.array(self.array[self._place(channel, corner)])

    def _place(self, channel: int, corner: _Corner) -> tuple[int | slice, ...]:
        cube = self._cube(corner)
        return (channel, *cube) if self.array.ndim == 4 else cube

    def _cube(self, corner: _Corner) -> Box:
        i, j, k = (slice(c, min(c + _CHUNK, n)) for c, n in zip(corner, self.shape, strict=True))
        return i, j, k


def _new_group(folder: Path, geometry: Geometry, channels: Sequence[tuple[str, int]]) -> Any:
    import zarr  # a third of a second, only where maps are wanted

    return zarr.create_group(
        folder,
        zarr_format=2,
        attributes={
            "medseg_version": __version__,
            "channels": [{"name": name, "label_id": label_id} for name, label_id in channels],
            "affine_ras_mm": geometry.affine.tolist(),
            "spacing_mm": list(geometry.spacing) if geometry.spacing_known else None,
        },
    )


def _new_array(group: Any, name: str, shape: tuple[int, int, int], channels: Sequence[Any]) -> Any:
    from numcodecs import Blosc

    several = name == "probabilities"
    chunk = tuple(min(_CHUNK, size) for size in shape)
    return group.create_array(
        name,
        shape=(len(channels), *shape) if several else shape,
        chunks=(1, *chunk) if several else chunk,
        dtype="float16",
        fill_value=0,
        # Of lz4 and zstd at several levels this packs softmax outputs nearly best, at 600 MB/s.
        compressors=Blosc("zstd", clevel=1, shuffle=Blosc.BITSHUFFLE),
        chunk_key_encoding={"name": "v2", "separator": "/"},
        attributes={
            "unit": "probability" if several else "nat",
            "_ARRAY_DIMENSIONS": ["channel", "i", "j", "k"] if several else ["i", "j", "k"],
        },
    )


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What the system says, as a `WriteFailed` that names the group."""
    try:
        yield
    except OSError as error:
        if isinstance(error, WriteFailed):
            raise
        raise WriteFailed(f"{path}: could not be written: {error.strerror or error}") from error


def _corners(box: Box) -> Iterator[_Corner]:
    """First voxels of the cubes that a box touches."""
    i, j, k = (range(s.start // _CHUNK * _CHUNK, s.stop, _CHUNK) for s in box)
    return itertools.product(i, j, k)


def _inside(part: Sequence[slice], whole: Sequence[slice]) -> Box:
    """A box counted from the first voxel of one that holds it."""
    i, j, k = (slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True))
    return i, j, k


def _voxels(box: Sequence[slice]) -> int:
    return int(np.prod([s.stop - s.start for s in box]))


def _checksum(cube: NDArray[np.float16]) -> int:
    return zlib.crc32(np.ascontiguousarray(cube).data)
