"""Clean-up of a label map. Each function takes a `LabelMap` and gives a new one on the same grid.

`apply_steps` carries out those that a plan names; docs/postprocess.md has a table of them. scipy and cc3d are
imported where they are used: an inference without clean-up starts without them.
"""

from __future__ import annotations

from medseg.postprocess.components import keep_largest, keep_largest_piece, remove_small
from medseg.postprocess.holes import fill_holes
from medseg.postprocess.morphology import closing, opening
from medseg.postprocess.outlines import contours
from medseg.postprocess.refinement import refine_edges
from medseg.postprocess.smoothing import smooth_gaussian, smooth_median
from medseg.postprocess.steps import apply_steps

__all__ = [
    "apply_steps",
    "closing",
    "contours",
    "fill_holes",
    "keep_largest",
    "keep_largest_piece",
    "opening",
    "refine_edges",
    "remove_small",
    "smooth_gaussian",
    "smooth_median",
]
