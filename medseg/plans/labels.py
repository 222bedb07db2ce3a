"""What a model tells apart: labels, regions that may overlap, totals of several labels."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import Field, model_validator

from medseg.labels import Label, LabelSet
from medseg.plans.strict import LabelId, Strict

IGNORED = "ignore"  # the ignore label's name, as in nnU-Net's dataset.json


class LabelSpec(Strict):
    """One label as it stands in YAML."""

    id: LabelId = Field(description="the value of its voxels in a label map")
    name: str = Field(description="the structure; left and right pairs are read off the names")
    colour: tuple[int, int, int] = Field(description="red, green, blue, 0 to 255")
    snomed: str | None = Field(default=None, description="its SNOMED CT code")


class RegionSpec(Strict):
    """One output channel of a network whose outputs may overlap (sigmoid, not softmax).

    The channel was trained to find every voxel whose label is in ``labels`` (whole tumour: oedema, core and
    enhancing core). Regions are painted in the plan's order where the channel's logit is above 0, each
    with its own label ``paints``; a later region paints over an earlier one, as in nnU-Net's
    ``regions_class_order``.
    """

    name: str = Field(description="the region")
    labels: tuple[LabelId, ...] = Field(min_length=1, description="labels whose voxels belong to it")
    paints: LabelId = Field(description="the label that it gets in the segmentation")


class TotalSpec(Strict):
    """Several labels measured as one (brain, total intracranial volume). Totals may share labels.

    The name goes into the name of a file, with a dash for all that is neither letter nor digit.
    """

    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")] = Field(description="the total")
    labels: tuple[LabelId, ...] = Field(min_length=1, description="labels that it joins")

    @model_validator(mode="after")
    def _usable(self) -> TotalSpec:
        if not dashed(self.name):
            raise ValueError(f"total {self.name!r}: a name needs a letter or a digit")
        if dashed(self.name).casefold() == "seg":
            raise ValueError(f"total {self.name!r}: its mask would look like a segmentation, rename it")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"total {self.name!r}: a label occurs twice in {list(self.labels)}")
        return self


def dashed(name: str) -> str:
    """A total's name as it stands in a file's: its letters and digits, dashes between the words.

    Whatever the name, the result is no path: a model that came from elsewhere chooses it.
    """
    return "-".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFC", name)))


def check_ignore_label(ignore_label: int | None, labels: LabelSet) -> None:
    """Refuse an ignore label that is also learnt, or whose name is taken."""
    if ignore_label is None:
        return
    if ignore_label in labels.ids:
        raise ValueError(
            f"ignore_label {ignore_label} is also the label {labels[ignore_label].name!r}, which would be "
            "learnt: take it out of labels, or choose another ignore_label"
        )
    if IGNORED in (*labels.names, labels.background):
        raise ValueError(f"ignore_label {ignore_label}: a label is called {IGNORED!r} already; rename it")


def with_ignored(labels: LabelSet, ignore_label: int | None) -> LabelSet:
    """The labels, and in grey the ignore label: what a label map to train with may hold."""
    if ignore_label is None:
        return labels
    return LabelSet((*labels.labels, Label(ignore_label, IGNORED, (128, 128, 128))), labels.background)


def labels_as_specs(labels: LabelSet) -> tuple[LabelSpec, ...]:
    """A `LabelSet` in the form a plan holds."""
    return tuple(LabelSpec(id=x.id, name=x.name, colour=x.colour, snomed=x.snomed) for x in labels)
