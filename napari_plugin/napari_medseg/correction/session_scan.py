"""The scan of a session that runs: known again after a crash, or chosen later. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import medseg
from medseg import Geometry, InputRefused, UsageError, Volume
from medseg.io.files import stem
from napari_medseg.layers import METADATA_KEY, UNASKED, LayerData, Opening, image_layers, opening_of
from napari_medseg.recovery.known_scan import KnownScan
from napari_medseg.recovery.scan_checksum import scan_checksum


@dataclass(frozen=True, slots=True, eq=False)
class FoundScan:
    """A scan that was read for a session, how, and which of its channels is the session's; None for none."""

    scan: Volume
    opening: Opening
    channel: int | None


def read_scan(path: Path, known: KnownScan, geometry: Geometry) -> FoundScan:
    """Read the scan of a session in the way in which it was opened before.

    A person has agreed to that for this scan alone: a file that does not hold it is read as any other.

    Parameters
    ----------
    path
        A file of it.
    known
        The scan as the session knows it.
    geometry
        The grid of the labels.

    Raises
    ------
    InputRefused
        ``grid-differs`` if it lies on another grid than the labels; else as `medseg.read`.
    """
    scan, opening, channel = _read_again(path, known)
    if not scan.geometry.same_grid(geometry):
        raise InputRefused(
            f"{path.name} has {scan.geometry.shape} voxels and the labels {geometry.shape}, or they "
            "lie at different places: choose the scan that the labels belong to",
            code="grid-differs",
        )
    return FoundScan(scan, opening, channel)


def _read_again(path: Path, known: KnownScan) -> tuple[Volume, Opening, int | None]:
    """Read a file as the session's scan was opened, and what is not that scan with nothing allowed."""
    opening = known.opening
    try:
        scan = medseg.read(path, series=opening.series, allow=opening.allow)
        channel = own_channel(scan, known)
    except UsageError:  # there is no such series: it is another file
        if opening.series is None:
            raise
        channel = None
    if channel is None and opening != UNASKED:
        return medseg.read(path), UNASKED, None
    return scan, opening, channel


def own_channel(scan: Volume, known: KnownScan) -> int | None:
    """The channel that a session began with; the first where nobody knows, None where none is it."""
    if known.crc32 is None:
        return 0
    return next((n for n, one in enumerate(scan.data) if scan_checksum(one) == known.crc32), None)


def known_layer(metadata: Mapping[str, Any], image: NDArray[Any]) -> KnownScan:
    """An image layer of medseg's, its array (I, J, K), as a session would keep it."""
    kept = metadata[METADATA_KEY]
    return KnownScan(kept["source"].paths, scan_checksum(image), opening_of([metadata]))


def is_own(metadata: Mapping[str, Any], image: NDArray[Any], known: KnownScan, geometry: Geometry) -> bool:
    """Whether an image layer of medseg's, its array (I, J, K), surely is the scan that a session knows.

    By its voxels, on the grid of the labels; of a session that kept no checksum, by its files.
    """
    return bool(metadata[METADATA_KEY]["geometry"].same_grid(geometry)) and known.is_same(
        known_layer(metadata, image)
    )


def not_the_same(name: str) -> str:
    """What is said of a scan that is not the one that a session began with."""
    return (
        f"{name} lies on the grid of the labels, but its voxels are not those of the scan that the "
        "correction began with. Make sure that it is the right one."
    )


def turned_otherwise(name: str) -> str:
    """What is said of a scan that is shown where the labels are, and lies elsewhere in the patient."""
    return (
        f"{name} is shown where the labels are, as each is shown along its own axes, but in the patient the "
        "two are turned against each other. Choose the scan that the labels belong to."
    )


def scan_layers(found: FoundScan, path: Path) -> list[LayerData]:
    """A scan as layers, named by its file."""
    return image_layers(found.scan, stem(path), found.opening)
