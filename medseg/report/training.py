"""Pictures of a training run: its curves, and its best, middling and worst validation cases."""

from __future__ import annotations

from medseg.report.curves import curves_png
from medseg.report.overlays import overlays_png

__all__ = ["curves_png", "overlays_png"]
