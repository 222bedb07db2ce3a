"""Measurements of a label map: how large structures and groups of them are, how unlike left and right are."""

from medseg.measure.volumes import (
    Asymmetry,
    Measurement,
    Total,
    add_up,
    compare_sides,
    measure,
    why_no_volume,
)

__all__ = ["Asymmetry", "Measurement", "Total", "add_up", "compare_sides", "measure", "why_no_volume"]
