"""Files with several volumes in time: which one is meant, and reading that one alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import SeveralVolumes, UsageError
from medseg.io.streams import ByteStream


def choose_volume(path: Path, count: int, series: int | None) -> int:
    """The index of the volume that ``series`` (counted from 1) names among ``count``.

    Raises
    ------
    SeveralVolumes
        If there are several and none is named.
    UsageError
        If there is no such volume.
    """
    if series is None:
        if count == 1:
            return 0
        raise SeveralVolumes(path, count)
    if not 1 <= series <= count:
        raise UsageError(f"{path.name}: series={series}, the file has volumes 1 to {count}")
    return series - 1


def read_volume(
    stream: ByteStream,
    shape: tuple[int, ...],
    count: int,
    chosen: int,
    number: np.dtype[Any],
    surplus: int = 0,
) -> NDArray[Any]:
    """One of ``count`` equal volumes that follow each other, in native byte order, first axis fastest.

    The others are passed over (the whole of a compressed stream is read, so that its checksum is
    verified), so that memory holds one volume. ``surplus`` is for `ByteStream.finish`.
    """
    size = math.prod(shape) * number.itemsize
    stream.require(size * count)
    stream.skip(size * chosen)
    flat = stream.read_array(math.prod(shape), number)
    stream.skip(size * (count - 1 - chosen))
    stream.finish(surplus)
    return native(flat).reshape(shape, order="F")


def native(data: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in this computer's byte order; bytes are swapped in place."""
    if data.dtype.isnative:
        return data
    return data.byteswap(inplace=True).view(data.dtype.newbyteorder("="))
