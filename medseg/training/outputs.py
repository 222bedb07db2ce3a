"""What a dataset says of a model's outputs: its ignore label and its regions, unless the user says else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medseg.datasets import Dataset
from medseg.errors import PlanInvalid
from medseg.labels import LabelSet


def with_ignore_label(dataset: Dataset, layers: Mapping[str, Any]) -> Dataset:
    """The dataset with the ``ignore_label`` of the user's settings, where they name one.

    What is ignored is no longer among the labels.

    Raises
    ------
    PlanInvalid
        If that is no id of a label: the maps are read by it before there is a plan to check.
    """
    ignored = layers.get("ignore_label", dataset.ignore_label)
    whole = isinstance(ignored, int) and not isinstance(ignored, bool)
    if ignored is not None and not (whole and 1 <= ignored <= 65535):
        raise PlanInvalid(
            f"ignore_label {ignored!r}: expected a whole number from 1 to 65535, as label maps hold it where "
            "nobody judged, or null"
        )
    labels = dataset.labels
    if labels is not None and ignored in labels.ids:
        labels = LabelSet(tuple(label for label in labels if label.id != ignored), labels.background)
    return replace(dataset, labels=labels, ignore_label=ignored)


def proposed_outputs(dataset: Dataset) -> dict[str, Any]:
    """Values of a plan that differ from its defaults where a dataset has an ignore label or regions."""
    values: dict[str, Any] = {}
    if dataset.ignore_label is not None:
        values["ignore_label"] = dataset.ignore_label
    if dataset.regions:
        values["regions"] = [region.model_dump() for region in dataset.regions]
    return values
