"""A number by which a session knows its scan again, whatever file or window it comes from."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def scan_checksum(image: NDArray[Any]) -> int:
    """CRC-32 of a scan's voxels: of type, shape and values.

    It tells a scan from another one, not from a forgery: the session asks whether somebody has replaced or
    mistaken a file. It is fast enough (1.8 GB/s) to be taken when a session begins.

    Parameters
    ----------
    image
        (I, J, K), any number type. How it lies in memory does not matter; i fastest is quickest.
    """
    little = image.dtype.newbyteorder("<")
    checksum = zlib.crc32(f"{little.str} {image.shape}".encode())
    for k in range(image.shape[2]):  # slice by slice: no second scan in memory
        part = np.asarray(image[:, :, k]).astype(little, copy=False)
        checksum = zlib.crc32(part.tobytes("F"), checksum)
    return checksum
