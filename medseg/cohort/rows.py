"""The rows of the tidy table that one case gives: one per label of the model, one per total."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medseg.measure import Description, Measurement, describe
from medseg.pipeline.segmentation import Segmentation
from medseg.volume import Volume


def case_rows(
    result: Segmentation, volume: Volume, channels: Sequence[str] = ()
) -> tuple[dict[str, Any], ...]:
    """Each label's and total's measurements, by column. Missing numbers are None.

    Parameters
    ----------
    result
        The segmentation.
    volume
        The scan that it is of.
    channels
        Names of the scan's channels; needed where there are several.
    """
    described = describe(result.labels, volume, totals=result.totals, channels=channels)
    measured = {measurement.id: measurement for measurement in result.measurements}
    return tuple(_row(one, None if one.is_total else measured[one.labels[0]]) for one in described)


def _row(described: Description, measured: Measurement | None) -> dict[str, Any]:
    reasons = list(described.reasons.values())
    if measured is not None and measured.quality_reason is not None:
        reasons.append(measured.quality_reason)
    return {
        "kind": "total" if measured is None else "label",
        "label_id": None if measured is None else measured.id,
        "label": described.name,
        **described.values,
        "quality": None if measured is None else measured.quality,
        "missing": "; ".join(dict.fromkeys(reasons)) or None,
    }
