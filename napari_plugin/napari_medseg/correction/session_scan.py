"""The scan of a session that runs: known again after a crash, or chosen later. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medseg
from medseg import InputRefused, Volume
from medseg.io.files import stem
from napari_medseg.layers import METADATA_KEY, LayerData, image_layers
from napari_medseg.recovery.scan_checksum import scan_checksum
from napari_medseg.recovery.session_files import SessionFacts


def read_scan(path: Path, facts: SessionFacts) -> tuple[Volume, int | None]:
    """Read the scan of a session, and the channel of it that the session began with; see `own_channel`.

    Raises
    ------
    InputRefused
        ``grid-differs`` if it lies on another grid than the labels; else as `medseg.read`.
    """
    scan = medseg.read(path)
    if not scan.geometry.same_grid(facts.geometry):
        raise InputRefused(
            f"{path.name} has {scan.geometry.shape} voxels and the labels {facts.geometry.shape}, or they "
            "lie at different places: choose the scan that the labels belong to",
            code="grid-differs",
        )
    return scan, own_channel(scan, facts)


def own_channel(scan: Volume, facts: SessionFacts) -> int | None:
    """The channel that a session began with; the first where nobody knows, None where none is it."""
    if facts.scan_crc32 is None:
        return 0
    return next((n for n, one in enumerate(scan.data) if scan_checksum(one) == facts.scan_crc32), None)


def is_own(metadata: Mapping[str, Any], image: NDArray[Any], facts: SessionFacts) -> bool:
    """Whether an image layer of medseg's, its array (I, J, K), surely is the scan that a session began with.

    By its voxels; of a session that kept no checksum, by its files.
    """
    kept = metadata[METADATA_KEY]
    if not kept["geometry"].same_grid(facts.geometry):
        return False
    if facts.scan_crc32 is not None:
        return scan_checksum(np.asarray(image)) == facts.scan_crc32
    return bool(facts.scan) and tuple(path.absolute() for path in kept["source"].paths) == facts.scan


def not_the_same(name: str) -> str:
    """What is said of a scan that is not the one that a session began with."""
    return (
        f"{name} lies on the grid of the labels, but its voxels are not those of the scan that the "
        "correction began with. Make sure that it is the right one."
    )


def scan_layers(scan: Volume, path: Path) -> list[LayerData]:
    """A scan as layers, named by its file."""
    return image_layers(scan, stem(path))
