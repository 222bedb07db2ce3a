"""Measurements of a label map: how large structures and groups of them are, and how unlike left and right.

`measure` is what every segmentation gets; `describe` adds, for the table of a cohort, place, shape and
intensities. The columns of that table: `measure_columns`.
"""

from medseg.measure.columns import MEASURES_VERSION, Column, measure_columns
from medseg.measure.description import Description, describe
from medseg.measure.volumes import (
    Asymmetry,
    Measurement,
    Total,
    add_up,
    compare_sides,
    measure,
    why_no_volume,
)

__all__ = [
    "MEASURES_VERSION",
    "Asymmetry",
    "Column",
    "Description",
    "Measurement",
    "Total",
    "add_up",
    "compare_sides",
    "describe",
    "measure",
    "measure_columns",
    "why_no_volume",
]
