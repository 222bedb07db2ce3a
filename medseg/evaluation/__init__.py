"""Metrics with stated rules for empty masks, and the statistics of a comparison."""

from __future__ import annotations

from medseg.evaluation.metrics import dice, dice_per_label

__all__ = ["dice", "dice_per_label"]
