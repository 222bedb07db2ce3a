"""A scan that a session corrects on, as its journal keeps it: to open it again, and to know it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_medseg.layers import UNASKED, Opening


@dataclass(frozen=True, slots=True)
class KnownScan:
    """What is known of a scan; without arguments, nothing.

    Parameters
    ----------
    files
        In slice order for a series; empty where the scan came from no file. They become absolute.
    crc32
        `scan_checksum.scan_checksum` of its voxels; None where nobody took it.
    opening
        How it was opened.
    """

    files: tuple[Path, ...] = ()
    crc32: int | None = None
    opening: Opening = UNASKED

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(Path(path).absolute() for path in self.files))

    @property
    def is_known(self) -> bool:
        """Whether there is a scan at all."""
        return bool(self.files) or self.crc32 is not None

    def is_same(self, other: KnownScan) -> bool:
        """Whether both are one scan: by their voxels, or by their files where a checksum is missing."""
        if self.crc32 is not None and other.crc32 is not None:
            return self.crc32 == other.crc32
        return bool(self.files) and self.files == other.files

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the journal's header and its records of scans have them."""
        return {
            "scan": [str(path) for path in self.files],
            "scan_crc32": self.crc32,
            "scan_series": self.opening.series,
            "scan_allow": list(self.opening.allow),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> KnownScan:
        """The way back. Journals of before have the files alone."""
        opening = Opening(document.get("scan_series"), tuple(document.get("scan_allow", ())))
        return cls(tuple(Path(one) for one in document["scan"]), document.get("scan_crc32"), opening)


NO_SCAN = KnownScan()
