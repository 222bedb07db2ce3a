"""Pairs of pictures and label pictures, as the benchmarks of natural scenes keep them."""

from __future__ import annotations

from pathlib import Path

from medseg.datasets.sources.survey import Example
from medseg.errors import InputRefused
from medseg.io import read, read_labels
from medseg.words import counted

RGB = ("red", "green", "blue")


def read_pair(image: Path, label: Path) -> Example:
    """An RGB picture and its label picture of one channel, a palette's indices taken as ids.

    Raises
    ------
    InputRefused
        ``channels`` if the picture is not RGB, and as `medseg.read` and `medseg.read_labels`.
    """
    volume = read(image)
    if len(volume.data) != len(RGB):
        found = counted(len(volume.data), "channel")
        raise InputRefused(
            f"{image.name}: {found}, expected red, green and blue: save it as RGB",
            code="channels",
            path=image,
        )
    return Example((volume,), (read_labels(label),))
