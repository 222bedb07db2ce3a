"""The datasets that training reads, under the name by which training's modules ask for them."""

from __future__ import annotations

from medseg.datasets import LABEL_MAPS, Case, Dataset, read_dataset

__all__ = ["LABEL_MAPS", "Case", "Dataset", "read_dataset"]
