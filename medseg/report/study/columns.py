"""Columns of a study as they travel in the page: compact, compressed, in letters that HTML leaves alone.

The page's script undoes this in ``assets/data.js``; the two must agree.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIGITS = 4
_MISSING = np.iinfo(np.int16).min
_SMALLEST, _LARGEST = 1e-300, 1e300


def pack_numbers(values: ArrayLike) -> str:
    """Numbers (N,) with 4 significant digits: N mantissas, then N powers of ten, 16 bits each.

    A number is ``mantissa * 10 ** power``, so that what is shown is a plain decimal. What is not
    finite or beyond 1e300 in size is missing; what is below 1e-300 is 0. Ties round to even.
    """
    mantissas, powers = decimal_parts(np.asarray(values, np.float64))
    return _pack(mantissas.astype("<i2").tobytes() + powers.astype("<i2").tobytes())


def decimal_parts(values: NDArray[np.float64]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Mantissas of at most 4 digits and powers of ten; the mantissa -32768 is a missing number."""
    present = np.abs(values) <= _LARGEST  # False for NaN too
    size = np.where(present, np.abs(values), 0.0)
    nonzero = size > _SMALLEST
    powers = np.zeros(values.shape, np.int64)
    powers[nonzero] = np.floor(np.log10(size[nonzero])).astype(np.int64) - (DIGITS - 1)
    mantissas = np.zeros(values.shape, np.int64)
    # In two steps, as one power of ten may be beyond what a float holds.
    half = powers[nonzero] // 2
    scaled = values[nonzero] / 10.0**half / 10.0 ** (powers[nonzero] - half)
    mantissas[nonzero] = np.rint(scaled)
    rounded_up = np.abs(mantissas) == 10**DIGITS
    mantissas[rounded_up] //= 10
    powers[rounded_up] += 1
    mantissas[~present] = _MISSING
    return mantissas.astype(np.int16), powers.astype(np.int16)


def pack_json(value: Sequence[Any]) -> str:
    """Anything that JSON holds, most often a list with an entry per case."""
    return _pack(json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii"))


def coded(values: Sequence[str | None]) -> tuple[list[str], list[int]]:
    """The different texts in order of appearance, and the place of each value's among them; -1 is None."""
    places: dict[str, int] = {}
    codes = [-1 if value is None else places.setdefault(value, len(places)) for value in values]
    return list(places), codes


def _pack(content: bytes) -> str:
    compressor = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)  # what browsers call "deflate-raw"
    packed = compressor.compress(content) + compressor.flush()
    return base64.b64encode(packed).decode("ascii")
