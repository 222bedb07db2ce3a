"""Pictures of segmentations and of training runs."""

from __future__ import annotations

from medseg.report.curves import curves_png
from medseg.report.drawing import display_window
from medseg.report.overlays import overlays_png
from medseg.report.preview import preview_png

__all__ = ["curves_png", "display_window", "overlays_png", "preview_png"]
