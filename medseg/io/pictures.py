"""What the readers of PNG, JPEG and TIFF share: the picture, its limits, decoding in another process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io import itk_process
from medseg.io.refusals import refused
from medseg.io.streams import BOMB_RATIO
from medseg.verdict import OK, Verdict

LARGEST_PIXELS = 1 << 28
_BOMB_SIZE = 1 << 27
_SECONDS, _SECONDS_PER_BYTE = 60.0, 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Pixels as a file gives them.

    Parameters
    ----------
    pixels
        (row, column, channel).
    has_alpha
        The last channel is transparency.
    verdict
        What is odd about the file.
    spacing
        mm along a row (i) and along a column (j), where the file says so reliably.
    """

    pixels: NDArray[Any]
    has_alpha: bool = False
    verdict: Verdict = OK
    spacing: tuple[float, float] | None = None


def check_size(path: Path, width: int, height: int, bytes_per_pixel: int, *, compressed: bool = True) -> None:
    """Refuse, before anything is decoded, what is too large or compressed as only bombs are."""
    if width * height > LARGEST_PIXELS:
        raise refused(path, "too-large", f"{width} x {height} pixels, expected at most {LARGEST_PIXELS}")
    size, available = width * height * bytes_per_pixel, path.stat().st_size
    if compressed and size > max(_BOMB_SIZE, BOMB_RATIO * available):
        raise refused(
            path,
            "too-large",
            f"{available} bytes that unpack to {size} are the mark of a decompression bomb. "
            "If you trust the file, save it uncompressed (TIFF)",
        )


def palette_warning() -> Verdict:
    """The finding for a picture with a palette."""
    finding = "a picture with a palette: its indices are taken as values"
    return Verdict.of("warning", "palette", finding)


def orientation_warning(orientation: int) -> Verdict:
    """The finding for a picture that asks to be shown turned or mirrored (EXIF's and TIFF's tag 274)."""
    if orientation in (0, 1):
        return OK
    finding = f"the picture asks to be shown turned or mirrored (orientation {orientation}); its pixels are "
    return Verdict.of("warning", "exif-orientation", finding + "taken as they are stored")


def decode_outside(path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Pixels (row, column, channel), decoded by ITK in a process of its own, capped in memory and time.

    Raises
    ------
    InputRefused
        ``unsupported-encoding`` if ITK cannot decode the file, or to other pixels than its header declares.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    command = [
        sys.executable,
        "-P",
        "-W",
        "ignore",
        str(itk_process.__file__),
        str(path.resolve()),
        str(size),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS + _SECONDS_PER_BYTE * size,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise refused(path, "undecodable", "its pixels take too long to decode") from None
    kind, _, content = done.stdout.partition(b"\n")
    if done.returncode != 0 or kind != dtype.str[1:].encode() or len(content) != size:
        raise refused(
            path, "unsupported-encoding", "its pixels cannot be decoded; save it as 8-bit PNG or plain TIFF"
        )
    return np.frombuffer(bytearray(content), dtype.newbyteorder("=")).reshape(shape)
