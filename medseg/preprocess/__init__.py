"""Scan grid to network grid, and the exact way back. numpy only: inference starts quickly.

``prepare`` orients, resamples and normalises a scan as its plan says; ``restore`` brings whatever the
network made onto the scan's own grid again. Both follow the scan's own axes, so an oblique or tilted
scan is never rotated, only permuted, flipped and rescaled.
"""

from __future__ import annotations

from medseg.preprocess.channels import stack_channels
from medseg.preprocess.crop import cropped, foreground_box
from medseg.preprocess.grid import WORLD_AXES, network_geometry
from medseg.preprocess.patches import Patches
from medseg.preprocess.prepare import Prepared, prepare, prepare_labels, restore
from medseg.preprocess.resample import AxisTable, axis_tables, resample, resample_classes, take_along

__all__ = [
    "WORLD_AXES",
    "AxisTable",
    "Patches",
    "Prepared",
    "axis_tables",
    "cropped",
    "foreground_box",
    "network_geometry",
    "prepare",
    "prepare_labels",
    "resample",
    "resample_classes",
    "restore",
    "stack_channels",
    "take_along",
]
