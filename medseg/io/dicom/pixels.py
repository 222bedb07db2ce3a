"""Pixels of ordered frames, read into one array.

Native pixels go from the file straight into the array; compressed ones are decoded by several processes at
once (`pool`). Beside the result there is never more than a frame per thread in memory.

Grey values are as stored, and rescaled. MONOCHROME1 asks that low values be shown bright. That is a matter of
display, so nothing is inverted (as in dcm2niix and pydicom; SimpleITK inverts).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused, OutOfMemory
from medseg.io.dicom import layout, pool, stored
from medseg.io.dicom.codestream import BadPixels
from medseg.io.dicom.objects import Frame, StoredImage
from medseg.io.dicom.stored import Opened

_INTEGERS = tuple(np.dtype(name) for name in ("u1", "i2", "u2", "i4", "u4", "i8"))
# Threads that wait for disks and decoding processes.
_MOST_THREADS = 8
# Compressed frames that unpack to more than this have to bring a thousandth of it.
_SMALL_BYTES, _LARGEST_RATIO = 1 << 28, 1024
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
# A further decoding process takes as long to start as this many bytes take to decode.
_WORTH_A_CHILD = 1 << 22
_WORTH_A_THREAD = 1 << 23


def read_frames(frames: Sequence[Frame]) -> NDArray[Any]:
    """Values of ordered frames, each rescaled as it says.

    Parameters
    ----------
    frames
        Slices of one size and one number of samples, in the order wanted. They may come from any number
        of objects.

    Returns
    -------
    ndarray
        (I, J, K): column, row, slice, in Fortran order; for colour (sample, I, J, K), RGB. The smallest
        integer type that holds whatever the headers permit, where all slopes and intercepts are whole;
        else float32, computed in float64.

    Raises
    ------
    InputRefused
        As `check_frames`, and ``undecodable`` where decoding fails. Nothing is returned then.
    OutOfMemory
        The result does not fit into memory.
    """
    for frame in frames:
        with _named(frame.image):
            if frame.image.photometric == "PALETTE COLOR":
                raise BadPixels("its pixels are places in a palette of colours, not values", "colour")
            if not (math.isfinite(frame.slope) and math.isfinite(frame.intercept) and frame.slope):
                raise BadPixels("a rescale slope of 0, or a rescale that is no number", "bad-header")
    return _read(frames, _value_type(frames), rescaled=True)


def read_stored(frames: Sequence[Frame]) -> NDArray[Any]:
    """Stored values of ordered frames: as `read_frames`, without any rescale, palettes as indices.

    Single bits (segmentations) become bytes of 0 and 1.
    """
    signed = any(frame.image.bits[3] for frame in frames)
    width = max(layout.container(frame.image).itemsize for frame in frames)
    if signed and not all(frame.image.bits[3] for frame in frames):
        width = min(8, 2 * width)
    return _read(frames, np.dtype(f"{'i' if signed else 'u'}{width}"), rescaled=False)


def check_frames(frames: Sequence[Frame]) -> None:
    """Find everything that can be known without decoding.

    Raises
    ------
    InputRefused
        ``undecodable`` where a layout is contradictory or not read, or a compressed stream is not what the
        header says; ``truncated`` and ``size-mismatch`` where there are less or more pixels; ``too-large``
        where a stream would unpack to far more than it is; ``several-matrices``.
    """
    _open_all(frames)


def _read(frames: Sequence[Frame], dtype: np.dtype[Any], *, rescaled: bool) -> NDArray[Any]:
    opened = _open_all(frames)
    first = frames[0]
    size = (first.columns, first.rows, len(frames))
    samples = first.image.samples
    data = _empty(((samples, *size) if samples > 1 else size), dtype)
    slices: dict[tuple[int, int], list[int]] = {}
    for k, frame in enumerate(frames):
        slices.setdefault((id(frame.image), frame.number), []).append(k)

    def fill(places: list[int]) -> None:
        image = frames[places[0]].image
        with _named(image):
            _fill(opened[id(image)], [(frames[k], data[..., k].T) for k in places], rescaled)

    _each(fill, list(slices.values()), _threads(opened.values(), data.nbytes))
    return data


def _fill(opened: Opened, targets: list[tuple[Frame, NDArray[Any]]], rescaled: bool) -> None:
    """Decode one stored frame into the slices that it makes up: one, or the tiles of a mosaic."""
    image = opened.image
    frame, target = targets[0]
    raw_type = layout.container(image)
    as_stored = target.dtype.kind != "f" and target.itemsize == raw_type.itemsize
    if as_stored and len(targets) == 1 and frame.tile is None:
        raw = target.view(raw_type)
        stored.read_frame(opened, frame.number, raw)
        if rescaled:  # modulo the type's range, which holds the result
            _rescale_whole(raw, frame)
        return
    raw = np.empty(layout.shape(image), raw_type)
    stored.read_frame(opened, frame.number, raw)
    values = raw.view(f"i{raw.itemsize}") if image.bits[3] else raw
    for frame, target in targets:
        top, left, rows, columns = frame.tile or (0, 0, image.rows, image.columns)
        tile = values[top : top + rows, left : left + columns]
        if rescaled and target.dtype.kind == "f":
            exact = tile * np.float64(frame.slope)
            exact += frame.intercept
            target[...] = exact
        else:
            target[...] = tile
            if rescaled:
                _rescale_whole(target.view(f"u{target.itemsize}"), frame)


def _rescale_whole(values: NDArray[Any], frame: Frame) -> None:
    """Multiply and add in place, in unsigned arithmetic, which is right for signed numbers too."""
    range_size = 1 << 8 * values.itemsize
    if frame.slope != 1:
        values *= values.dtype.type(int(frame.slope) % range_size)
    if frame.intercept:
        values += values.dtype.type(int(frame.intercept) % range_size)


def _value_type(frames: Sequence[Frame]) -> np.dtype[Any]:
    """The smallest integer type that holds every value the headers permit, or float32."""
    rescales = {(frame.slope, frame.intercept, frame.image.bits): frame for frame in frames}
    low, high = math.inf, -math.inf
    for (slope, intercept, bits), frame in rescales.items():
        least = -(1 << bits[1] - 1) if bits[3] else 0
        ends = [slope * value + intercept for value in (least, least + (1 << bits[1]) - 1)]
        low, high = min(low, *ends), max(high, *ends)
        if max(abs(low), abs(high)) > _LARGEST_FLOAT:
            with _named(frame.image):
                raise BadPixels("a rescale that leads beyond all numbers", "bad-header")
    if all(float(number).is_integer() for rescale in rescales for number in rescale[:2]):
        for dtype in _INTEGERS:
            limits = np.iinfo(dtype)
            # Ends beyond 2**53 are rounded; they lie far inside 64 bits or far outside.
            if limits.min <= low and high <= limits.max:
                return dtype
    return np.dtype(np.float32)


def _open_all(frames: Sequence[Frame]) -> dict[int, Opened]:
    """Open every object, and check every frame that is asked for, before memory is taken."""
    first = frames[0]
    opened: dict[int, Opened] = {}
    checked: set[tuple[int, int]] = set()
    compressed = unpacked = 0
    for frame in frames:
        image = frame.image
        with _named(image):
            if (frame.rows, frame.columns, image.samples) != (first.rows, first.columns, first.image.samples):
                raise BadPixels(
                    f"{frame.columns} x {frame.rows} pixels among slices of {first.columns} x {first.rows}",
                    "several-matrices",
                )
            if id(image) not in opened:
                opened[id(image)] = stored.open_image(image)
            if (id(image), frame.number) in checked:
                continue
            checked.add((id(image), frame.number))
            stored.check_frame(opened[id(image)], frame.number)
            streams = opened[id(image)].streams
            if streams is not None:
                compressed += streams[frame.number].size
                unpacked += layout.frame_bytes(image)
            if unpacked > max(_SMALL_BYTES, _LARGEST_RATIO * compressed):
                raise BadPixels(
                    f"{compressed} compressed bytes would become {unpacked}, more than any scan's",
                    "too-large",
                )
    return opened


def _empty(size: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        return np.empty(size, dtype, order="F")
    except (MemoryError, ValueError):
        wanted = math.prod(size) * dtype.itemsize / 1e9
        raise OutOfMemory(f"a scan of {size} voxels needs {wanted:.1f} GB of memory") from None


def _threads(opened: Iterable[Opened], result_bytes: int) -> int:
    """How many frames to read at once."""
    codecs = {item.codec for item in opened}
    if codecs <= {None, "raw", "deflate", "rle"}:
        return min(_MOST_THREADS, 1 + result_bytes // _WORTH_A_THREAD)
    return min(pool.shared().limit, 1 + result_bytes // _WORTH_A_CHILD)


def _each(work: Callable[[list[int]], None], items: Sequence[list[int]], threads: int) -> None:
    """Do the work on all items; the first failure, in their order, ends it."""
    if min(threads, len(items)) < 2:
        for item in items:
            work(item)
        return
    executor = ThreadPoolExecutor(min(threads, len(items)), "medseg-pixels")
    try:
        for _ in executor.map(work, items):
            pass
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _named(image: StoredImage) -> Iterator[None]:
    """Refusals that name the file."""
    try:
        yield
    except BadPixels as fault:
        raise InputRefused(f"{image.source.name}: {fault}", code=fault.code, path=image.source.path) from None
    except MemoryError:
        raise OutOfMemory(f"{image.source.name}: no memory is left to decode its pixels") from None
    except OSError as fault:
        raise InputRefused(
            f"{image.source.name}: the file cannot be read ({type(fault).__name__})",
            code="truncated",
            path=image.source.path,
        ) from None
