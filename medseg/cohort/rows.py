"""The rows of the tidy table that one case gives: one per label of the model, one per total."""

from __future__ import annotations

from typing import Any

from medseg.pipeline.segmentation import Segmentation
from medseg.volume import Volume

# Goes up when a number of a row comes to mean something else: a study's cases are then measured anew.
MEASURES_VERSION = 1


def case_rows(result: Segmentation, volume: Volume) -> tuple[dict[str, Any], ...]:
    """Each label's and total's measurements, by column. Missing numbers are None."""
    labels = [
        {
            "kind": "label",
            "label_id": label.id,
            "label": label.name,
            "volume_ml": label.volume_ml,
            "voxels": label.voxels,
            "touches_border": label.touches_border,
            "quality": label.quality,
        }
        for label in result.measurements
    ]
    totals = [
        {
            "kind": "total",
            "label_id": None,
            "label": total.name,
            "volume_ml": total.volume_ml,
            "voxels": total.voxels,
            "touches_border": total.touches_border,
        }
        for total in result.totals
    ]
    return (*labels, *totals)
