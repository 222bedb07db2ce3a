"""Frames made by hand: headers without files, oblique and anisotropic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.io.dicom.objects import Frame, StoredImage

ROW = np.array([0.96, 0.28, 0.0])
COLUMN = np.array([-0.28 * 0.8, 0.96 * 0.8, 0.6])
NORMAL = np.cross(ROW, COLUMN)
FIRST = np.array([-101.5, 42.25, 310.125])


@dataclass(frozen=True)
class Nowhere:
    """A source without bytes."""

    name: str = "slice"
    size: int = 0

    @property
    def path(self) -> Path:
        return Path(self.name)

    def read(self, start: int, count: int) -> bytes:
        raise AssertionError("headers alone have to do")


@dataclass
class HandMade:
    """Makes frames of 5 rows and 7 columns; whatever is not told is that of an ordinary CT."""

    made: int = field(default=0)

    def image(self, **facts: Any) -> StoredImage:
        self.made += 1
        known = {
            "source": Nowhere(f"slice{self.made}"), "sop_class": "1.2.840.10008.5.1.4.1.1.2",
            "sop_uid": f"1.9.{self.made}", "series_uid": "1.2.3", "series_number": 4,
            "frame_of_reference": "1.5", "transfer_syntax": "1.2.840.10008.1.2.1", "modality": "CT",
            "rows": 5, "columns": 7, "frames": 1, "samples": 1, "planar": 0, "photometric": "MONOCHROME2",
            "bits": (16, 12, 11, False), "pixels_at": 0, "pixels_length": 70,
        }  # fmt: skip
        return StoredImage(**{**known, **facts})

    def frame(self, depth: float = 0.0, *, along: np.ndarray = NORMAL, **facts: Any) -> Frame:
        """One slice, ``depth`` mm along ``along`` from the first; names of either class may be told."""
        of_frame = {f.name for f in fields(Frame)}
        image = {k: v for k, v in facts.items() if k not in of_frame}
        known: dict[str, Any] = {
            "position": FIRST + depth * along, "row": ROW, "column": COLUMN, "pixel_spacing": (0.75, 1.25),
            "thickness": 99.0, "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
        }  # fmt: skip
        known |= {k: v for k, v in facts.items() if k in of_frame}
        return Frame(**{"image": self.image(**image), **known})

    def stack(self, *depths: float, **facts: Any) -> list[Frame]:
        return [self.frame(depth, **facts) for depth in depths]


@pytest.fixture(scope="session")
def make() -> HandMade:
    return HandMade()


@pytest.fixture
def shuffled() -> Callable[[list[Frame]], list[Frame]]:
    """The same frames in an order that says nothing."""

    def shuffle(frames: list[Frame]) -> list[Frame]:
        order = np.random.default_rng(11).permutation(len(frames))
        return [frames[n] for n in order]

    return shuffle
