"""Plan: everything that decides a model, YAML in and out, checked as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from medseg.errors import NotFound, PlanInvalid
from medseg.labels import Label, LabelSet
from medseg.plans.architectures import check_network
from medseg.plans.faults import plan_faults
from medseg.plans.fingerprint import Fingerprint
from medseg.plans.inference import CardPlan, InferencePlan
from medseg.plans.labels import LabelSpec, RegionSpec, TotalSpec, check_ignore_label, dashed, with_ignored
from medseg.plans.loss import LossPlan, check_loss
from medseg.plans.network import ChannelPlan, GridPlan, NetworkPlan
from medseg.plans.postprocess import check_steps
from medseg.plans.strict import LabelId, Precision, Strict
from medseg.plans.synthesis import SynthesisPlan
from medseg.plans.training import (
    AugmentationPlan,
    OptimiserPlan,
    SamplingPlan,
    SchedulePlan,
    check_sampling,
)


class Plan(Strict):
    """Everything that decides a model. YAML in and out; see `Plan.from_yaml`."""

    format_version: Literal[1] = Field(default=1, description="of the plan's own format")
    name: str = Field(description="what the model is called")
    dimensions: Literal[2, 3] = Field(description="of the network")
    channels: tuple[ChannelPlan, ...] = Field(min_length=1, description="the input channels, in order")
    labels: tuple[LabelSpec, ...] = Field(min_length=1, description="what the model tells apart")
    background: str = Field(default="background", description="what is none of the labels is called")
    regions: tuple[RegionSpec, ...] = Field(
        default=(), description="output channels that may overlap; empty: one channel per label, softmax"
    )
    ignore_label: LabelId | None = Field(
        default=None,
        description="value in training label maps of voxels that nobody judged: they neither train nor count",
    )
    totals: tuple[TotalSpec, ...] = Field(
        default=(), description="groups of labels that are also measured, and written as masks, as one"
    )
    grid: GridPlan = Field(default=GridPlan(), description="the voxels that the network sees")
    patch: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        description="voxels of a window along each axis; each divisible by the product of its strides"
    )
    network: NetworkPlan = Field(default=NetworkPlan(), description="the network and its size")
    sampling: SamplingPlan = Field(default=SamplingPlan(), description="which patches a step sees")
    augmentation: AugmentationPlan = Field(
        default=AugmentationPlan(), description="random changes of the training patches"
    )
    loss: LossPlan = Field(default=LossPlan(), description="what training makes small")
    optimiser: OptimiserPlan = Field(default=OptimiserPlan(), description="how weights change in a step")
    schedule: SchedulePlan = Field(default=SchedulePlan(), description="how long, and how often validated")
    synthesis: SynthesisPlan | None = Field(
        default=None, description="training images are made from label maps; None: they are read"
    )
    precision: Precision = Field(
        default="auto", description="of training; auto: bfloat16 where the device has it, else float32"
    )
    inference: InferencePlan = Field(default=InferencePlan(), description="what a bundle carries for its use")
    hold_back_every: int = Field(
        default=0, ge=0, description="every n-th case of the sorted list is never read by training; 0: none"
    )
    card: CardPlan = Field(default=CardPlan(), description="what the model card says, and the licence")
    fingerprint: Fingerprint | None = Field(default=None, description="what the plan was made from")

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        d = self.dimensions
        if len(self.patch) != d:
            raise ValueError(f"patch {self.patch}: a {d}D plan needs {d} sizes")
        if d == 3 and (self.grid.slice_axis is not None or self.grid.neighbours):
            raise ValueError("grid.slice_axis, grid.neighbours: a 3D plan has no slices; set dimensions 2")
        net = self.network
        if len(net.features) != len(net.strides):
            raise ValueError(f"network: {len(net.features)} features but {len(net.strides)} strides")
        if any(len(s) != d for s in net.strides):
            raise ValueError(f"network.strides: a {d}D plan needs {d} numbers per stage")
        if net.kernel_sizes and [len(k) for k in net.kernel_sizes] != [d] * len(net.features):
            raise ValueError(
                f"network.kernel_sizes: expected {len(net.features)} entries of {d} numbers, or none"
            )
        if net.deep_supervision > max(0, len(net.features) - 2):
            most = max(0, len(net.features) - 2)
            raise ValueError(f"network.deep_supervision: at most {most} for {len(net.features)} stages")
        for axis in range(d):
            step = 1
            for stride in net.strides:
                step *= stride[axis]
            if self.patch[axis] % step:
                raise ValueError(
                    f"patch {self.patch}: size {self.patch[axis]} is not divisible by the strides' {step}"
                )
        check_network(net, self.patch)
        angles, scale = self.augmentation.rotation_degrees, self.augmentation.scale
        if len(angles) < (1 if d == 2 else 3):
            raise ValueError(
                f"augmentation.rotation_degrees {angles}: a {d}D plan needs {1 if d == 2 else 3} angle(s)"
            )
        if min(scale) <= 0:
            raise ValueError(f"augmentation.scale {scale}: expected two factors above 0")
        for axis in (*self.augmentation.flip_axes, *self.inference.mirror_axes):
            if not 0 <= axis < d:
                raise ValueError(f"flip axis {axis}: expected 0 to {d - 1}")
        ids = set(self.label_set.ids)  # ids and names unique
        for region in self.regions:
            unknown = sorted({*region.labels, region.paints} - ids)
            if unknown:
                raise ValueError(f"region {region.name!r}: labels {unknown} are not among {sorted(ids)}")
        check_ignore_label(self.ignore_label, self.label_set)
        check_sampling(self.sampling, counted=self.fingerprint is not None, made=self.synthesis is not None)
        check_loss(self.loss, paired_sides=net.paired_sides, counted=self.fingerprint is not None)
        for total in self.totals:
            if unknown := sorted(set(total.labels) - ids):
                raise ValueError(f"total {total.name!r}: labels {unknown} are not among {sorted(ids)}")
        files = [dashed(total.name).casefold() for total in self.totals]
        for total, file in zip(self.totals, files, strict=True):
            if files.count(file) > 1:
                raise ValueError(f"total {total.name!r}: another total has this name, or one too like it")
        if self.synthesis is not None:
            self._check_synthesis(self.synthesis)
        if self.schedule.coarse_until > 0 and not (net.name == "stem_unet" and net.deep_supervision):
            raise ValueError(
                "schedule.coarse_until: only network stem_unet with deep_supervision trains lower "
                "resolutions alone"
            )
        if net.paired_sides and net.name != "stem_unet":
            raise ValueError(f"network.paired_sides: stem_unet has them, {net.name} does not; leave it out")
        if net.refine_labels and net.name != "stem_unet":
            raise ValueError(f"network.refine_labels: stem_unet has them, {net.name} does not; leave it out")
        if net.refine_labels and self.regions:
            raise ValueError("network.refine_labels: regions overlap; leave one of both out")
        if unknown := sorted(set(net.refine_labels) - ids - {0}):
            raise ValueError(f"network.refine_labels: {unknown} are not among the labels {sorted(ids)}")
        known = self.fingerprint is None or self.fingerprint.spacing_known
        steps = self.inference.postprocess
        check_steps(steps, self.label_set.ids, len(self.channels), spacing_known=known)
        if self.inference.empty is not None and self.inference.empty.channel >= len(self.channels):
            raise ValueError(
                f"inference.empty.channel {self.inference.empty.channel}: there are {len(self.channels)} "
                "channels, numbered from 0"
            )
        return self

    def _check_synthesis(self, how: SynthesisPlan) -> None:
        """Made images are 3D, of one channel in 0..1, on a grid of known spacing whose axis 0 is lateral."""
        labels = self.label_set
        made = {tissue.segment for tissue in how.tissues} - {0}
        if made != set(labels.ids):
            raise ValueError(
                f"synthesis.tissues: their segments {sorted(made)} are not the labels {sorted(labels.ids)}"
            )
        if unknown := sorted(set(how.strip_labels) - set(labels.ids)):
            raise ValueError(f"synthesis.strip_labels: {unknown} are not among the labels")
        if self.ignore_label is not None:
            raise ValueError("ignore_label: made images (synthesis) have no voxel that nobody judged")
        if self.dimensions != 3 or [channel.normalisation for channel in self.channels] != ["range"]:
            raise ValueError("synthesis: expected 3 dimensions and one channel with normalisation range")
        if self.grid.orientation is None or self.grid.spacing_mm is None:
            raise ValueError("synthesis: expected grid.orientation RAS and grid.spacing_mm")
        if how.flip and labels.one_sided_ids:
            names = ", ".join(labels[label].name for label in labels.one_sided_ids)
            raise ValueError(f"synthesis.flip would put labels on the wrong side ({names}): turn it off")

    @property
    def trained_flips(self) -> tuple[int, ...]:
        """Axes that training flips: those of augmentation, or left to right where it makes its images."""
        if self.synthesis is None:
            return self.augmentation.flip_axes
        return (0,) if self.synthesis.flip else ()

    @property
    def input_channels(self) -> int:
        """The network's: each channel of the scan, with its neighbouring slices."""
        return len(self.channels) * (1 + 2 * self.grid.neighbours)

    @property
    def lateral_axis(self) -> int | None:
        """The axis of a patch that runs from left to right; None where there is none, or nobody knows."""
        return None if self.grid.orientation is None or self.grid.slice_axis == "sagittal" else 0

    @property
    def label_set(self) -> LabelSet:
        """The labels as a `LabelSet`."""
        return LabelSet(tuple(Label(x.id, x.name, x.colour, x.snomed) for x in self.labels), self.background)

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The ids that a label map may hold: 0, then the labels' ids ascending.

        Without regions these are the network's output channels, in this order.
        """
        return (0, *self.label_set.ids)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The network's output channels: background and labels, or the regions."""
        if self.regions:
            return tuple(region.name for region in self.regions)
        return (self.background, *self.label_set.names)

    @property
    def ignore_class(self) -> int | None:
        """The class index of voxels that nobody judged: the one after all others; None: there are none."""
        return None if self.ignore_label is None else len(self.class_ids)

    @property
    def training_labels(self) -> LabelSet:
        """What label maps to train with may hold: the labels, and where there is one the ignore label."""
        return with_ignored(self.label_set, self.ignore_label)

    @property
    def scored(self) -> dict[int, str]:
        """What validation scores, by name: the labels by their ids, or the regions numbered from 1."""
        if self.regions:
            return {number: region.name for number, region in enumerate(self.regions, start=1)}
        return {label.id: label.name for label in self.label_set}

    def to_yaml(self) -> str:
        """YAML that `from_yaml` reads back to an equal plan."""
        text: str = yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100
        )
        return text

    @classmethod
    def from_yaml(cls, text: str, name: str = "plan") -> Plan:
        """Parse and check a plan. ``name`` stands for the file in errors.

        Raises
        ------
        PlanInvalid
            If the text is not YAML, has unknown keys, or contradicts itself; every fault is listed.
        """
        return cls.checked(load_yaml(text, name), name)

    @classmethod
    def checked(cls, values: dict[str, Any], name: str = "plan") -> Plan:
        """Build a plan from plain values, with every fault listed in one `PlanInvalid`."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise PlanInvalid(f"{name}: {'; '.join(plan_faults(error, cls))}") from error

    @classmethod
    def check_part(cls, values: dict[str, Any], name: str | None = None) -> None:
        """Look over some of a plan's values, such as a recipe called ``name``, before the rest is known.

        Raises
        ------
        PlanInvalid
            If a key is unknown or a value is none that it can have; every fault is listed.
        """
        try:
            cls.model_validate(values)
        except ValidationError as error:
            if faults := plan_faults(error, cls, of_part=True):
                raise PlanInvalid(
                    "; ".join(faults) if name is None else f"{name}: {'; '.join(faults)}"
                ) from error


def load_yaml(text: str, name: str) -> dict[str, Any]:
    """Safe YAML of one mapping, or `PlanInvalid`."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PlanInvalid(f"{name}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise PlanInvalid(f"{name}: expected a mapping of settings, found {type(values).__name__}")
    return values


def read_plan(path: Path | str) -> Plan:
    """The plan in a YAML file."""
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"{path}: no such plan")
    return Plan.from_yaml(path.read_text(encoding="utf-8"), path.name)
