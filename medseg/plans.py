"""Fingerprint and Plan: what a dataset looks like, and everything that decides a model.

A plan is made by `medseg.plan`, read and edited by people as YAML, and travels inside the bundle.
Unknown keys are refused. Training and inference read the same object.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medseg.errors import NotFound, PlanInvalid
from medseg.labels import Label, LabelSet

FORMAT_VERSION = 1
Precision = Literal["auto", "f32", "bf16", "f16"]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChannelStatistics(_Strict):
    """Intensities of one channel inside the labelled foreground, over all cases."""

    name: str
    modality: str | None
    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float


class Fingerprint(_Strict):
    """What a dataset looks like. Lengths in mm, axes after reorientation to the plan's orientation."""

    cases: int
    dimensions: Literal[2, 3]
    spacing_known: bool
    spacing_median: tuple[float, float, float]
    spacing_min: tuple[float, float, float]
    spacing_max: tuple[float, float, float]
    shape_median: tuple[int, int, int]
    shape_min: tuple[int, int, int]
    shape_max: tuple[int, int, int]
    channels: tuple[ChannelStatistics, ...]
    voxel_fraction: dict[int, float] = Field(description="label id (0 included) to share of all voxels")
    cases_with_label: dict[int, int] = Field(description="label id to number of cases that have it")


class LabelSpec(_Strict):
    """One label as it stands in YAML."""

    id: Annotated[int, Field(ge=1, le=65535)]
    name: str
    colour: tuple[int, int, int]
    snomed: str | None = None


class RegionSpec(_Strict):
    """One output channel of a network whose outputs may overlap (sigmoid, not softmax).

    The channel was trained to find every voxel whose label is in ``labels`` (whole tumour: oedema, core and
    enhancing core). Regions are painted in the plan's order where the channel's logit is above 0, each
    with its own label ``paints``; a later region paints over an earlier one, as in nnU-Net's
    ``regions_class_order``.
    """

    name: str
    labels: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(min_length=1)
    paints: Annotated[int, Field(ge=1, le=65535)]


class TotalSpec(_Strict):
    """Several labels measured as one (brain, total intracranial volume). Totals may share labels.

    The name goes into the name of a file, with a dash for all that is neither letter nor digit.
    """

    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]
    labels: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _usable(self) -> TotalSpec:
        if not dashed(self.name):
            raise ValueError(f"total {self.name!r}: a name needs a letter or a digit")
        if dashed(self.name).casefold() == "seg":
            raise ValueError(f"total {self.name!r}: its mask would look like a segmentation, rename it")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"total {self.name!r}: a label occurs twice in {list(self.labels)}")
        return self


class ChannelPlan(_Strict):
    """One input channel and how its intensities become the network's.

    ``zscore``: subtract the scan's own mean, divide by its standard deviation (MR, most others).
    ``window``: clip to [low, high], then subtract ``mean``, divide by ``std`` (CT: HU are absolute).
    ``unit``: clip to [low, high] and scale to 0..1 (8- and 16-bit pictures).
    ``range``: clip to the scan's own 0.5th and 99.5th percentile and scale to 0..1, so that what lies
    outside of a scan (0) looks like air. Where [low, high] is given, a scan whose lowest value lies below
    -200, which only Hounsfield units do, is clipped to it before (any contrast, CT included).
    """

    name: str
    modality: str | None = None
    normalisation: Literal["zscore", "window", "unit", "range"] = "zscore"
    low: float | None = None
    high: float | None = None
    mean: float = 0.0
    std: Positive = 1.0

    @model_validator(mode="after")
    def _limits(self) -> ChannelPlan:
        given = self.low is not None or self.high is not None
        if (self.normalisation in ("window", "unit") or (self.normalisation == "range" and given)) and (
            self.low is None or self.high is None or not self.low < self.high
        ):
            raise ValueError(f"normalisation {self.normalisation!r} needs low < high")
        return self


class GridPlan(_Strict):
    """The network's grid: orientation code (None: as stored) and spacing in mm (None: as stored)."""

    orientation: Literal["RAS"] | None = "RAS"
    spacing_mm: tuple[Positive, Positive, Positive] | None = None


class NetworkPlan(_Strict):
    """The network, by its name in the registry, and its size.

    ``strides[n]`` is the step per axis on entering stage n; the first is all ones. A 2D network has
    two entries per stride. ``kernel_sizes`` likewise; empty means 3 everywhere (thick slices want 1
    across the slices until the in-plane spacing has caught up).
    """

    name: str = "unet"
    features: tuple[int, ...] = (16, 32, 64, 128)
    strides: tuple[tuple[int, ...], ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    kernel_sizes: tuple[tuple[int, ...], ...] = ()
    residual: bool = False
    paired_sides: bool = Field(
        default=False,
        description="stem_unet: left and right share a channel inside the network, one more tells the side",
    )
    refine_labels: tuple[Annotated[int, Field(ge=0, le=65535)], ...] = Field(
        default=(),
        description="stem_unet: labels (0: background) that full resolution tells apart; empty: it adds",
    )
    deep_supervision: int = Field(default=2, ge=0, description="extra heads at lower resolutions")
    dropout: Fraction = 0.0


class SamplingPlan(_Strict):
    """Which patches a step sees."""

    batch_size: Annotated[int, Field(ge=1)] = 2
    foreground_fraction: Fraction = Field(default=0.33, description="share of patches centred on a label")


class AugmentationPlan(_Strict):
    """Random changes of the training patches. A range is drawn uniformly unless said otherwise."""

    spatial_probability: Fraction = 0.5
    rotation_degrees: tuple[float, ...] = (15.0, 15.0, 15.0)
    scale: tuple[float, float] = (0.85, 1.18)
    translation_voxels: float = 0.0
    elastic_voxels: float = Field(default=0.0, ge=0, description="standard deviation of the displacement")
    elastic_spacing_voxels: Positive = 8.0
    flip_axes: tuple[int, ...] = Field(
        default=(), description="array axes of the network's grid that may be flipped"
    )
    noise: float = Field(default=0.1, ge=0, description="largest standard deviation of added noise")
    blur_voxels: float = Field(default=1.0, ge=0)
    brightness: float = Field(default=0.2, ge=0)
    contrast: tuple[float, float] = (0.75, 1.3)
    gamma: tuple[float, float] = (0.7, 1.5)
    low_resolution: tuple[float, float] = Field(
        default=(1.0, 2.0), description="down- and up-sampling factor"
    )
    bias_field: float = Field(
        default=0.0, ge=0, description="largest log amplitude of a smooth multiplicative field"
    )
    intensity_probability: Fraction = 0.15


class LossPlan(_Strict):
    """The loss. ``dice_ce`` is soft Dice (over foreground) plus cross-entropy."""

    name: Literal["dice_ce"] = "dice_ce"
    dice_weight: float = 1.0
    ce_weight: float = 1.0
    label_smoothing: Fraction = 0.0


class OptimiserPlan(_Strict):
    """Optimiser, peak learning rate, and the schedule (linear warm-up, cosine to zero)."""

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    gradient_clip: Positive = 12.0


class SchedulePlan(_Strict):
    """How long, how often validated, and the average of the weights that is kept."""

    steps: Annotated[int, Field(ge=1)] = 3000
    validate_every: Annotated[int, Field(ge=1)] = 250
    checkpoint_every: Annotated[int, Field(ge=1)] = 100
    ema_decay: Fraction = Field(default=0.999, description="0 turns weight averaging off")
    seed: int = 0
    coarse_until: Fraction = Field(
        default=0.0, description="share of the training that only trains the lower resolutions (stem_unet)"
    )


class TissueSpec(_Strict):
    """One value of the label maps that images are made from.

    Values with one number ``intensity`` look alike in every scan (left and right of a structure);
    ``segment`` is the label that the network learns there, 0 for background.
    """

    value: Annotated[int, Field(ge=0, le=65535)]
    intensity: Annotated[int, Field(ge=0)]
    segment: Annotated[int, Field(ge=0, le=65535)] = 0


class IntensityPrior(_Strict):
    """Intensity of one class in one contrast, on a scale of 0 to 255.

    A scan's mean is drawn from N(mean, mean_sd), its spread inside the class from N(std, std_sd).
    """

    mean: float = Field(allow_inf_nan=False)
    mean_sd: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    std: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    std_sd: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class ContrastSpec(_Strict):
    """A family of contrasts (T1-like, T2-like ...): priors by intensity class. A class without: any value."""

    weight: float = Field(default=1.0, ge=0, description="how often, relative to the other families")
    priors: dict[int, IntensityPrior]


class SynthesisPlan(_Strict):
    """Training images made from label maps alone (Billot et al., Medical Image Analysis 86, 2023).

    Each step deforms label maps, draws an intensity per class, and acquires the result as a scanner might:
    resolution, slices, bias field, noise. Ranges are drawn uniformly unless said otherwise.
    """

    tissues: tuple[TissueSpec, ...] = Field(min_length=2)
    contrasts: dict[str, ContrastSpec] = Field(default={}, description="families of contrast by name")
    random_weight: float = Field(default=1.0, ge=0, description="how often any contrast at all is drawn")
    widen_until: Fraction = Field(
        default=0.0, description="share of the training in which random_weight grows to its value"
    )
    rotation_degrees: float = Field(default=15.0, ge=0)
    scale: tuple[float, float] = (0.85, 1.18)
    shear: float = Field(default=0.02, ge=0)
    shift_mm: float = Field(default=20.0, ge=0)
    flip: bool = Field(default=True, description="mirror left and right, paired labels swapped")
    deformation_mm: float = Field(default=3.0, ge=0, description="largest spread of the velocity field")
    deformation_spacing_mm: tuple[float, float] = Field(
        default=(16.0, 48.0), description="between the velocity field's knots"
    )
    strip_probability: Fraction = Field(default=0.25, description="only the segmented labels are left")
    strip_labels: tuple[int, ...] = Field(
        default=(), description="labels that half of the stripped images lose as well (fluid round a brain)"
    )
    crop_probability: Fraction = Field(default=0.25, description="the field of view ends inside the head")
    split_probability: Fraction = Field(default=0.2, description="of a class, to be of two intensities")
    coarse_probability: Fraction = Field(default=0.25, description="larger voxels in every direction")
    coarse_mm: tuple[float, float] = (1.0, 2.5)
    slices_probability: Fraction = Field(default=0.4, description="thick slices along one axis")
    slices_mm: tuple[float, float] = (2.0, 8.0)
    bias_field: float = Field(default=0.4, ge=0, description="largest spread of the log of the field")
    noise: float = Field(default=0.06, ge=0, description="largest spread, as a share of the image's range")
    gamma: float = Field(default=0.3, ge=0, description="spread of the log of the exponent")
    spike_probability: Fraction = Field(default=0.03, description="a wave across the image (k-space spike)")

    @model_validator(mode="after")
    def _consistent(self) -> SynthesisPlan:
        values = [tissue.value for tissue in self.tissues]
        if len(set(values)) != len(values):
            raise ValueError("tissues: a value occurs twice")
        if len(values) > 256:
            raise ValueError(f"tissues: {len(values)} values, at most 256 are supported")
        if TissueSpec(value=0, intensity=0, segment=0) not in self.tissues:
            raise ValueError("tissues: expected air, which is value 0, intensity 0, segment 0")
        for name in ("scale", "deformation_spacing_mm", "coarse_mm", "slices_mm"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} {(low, high)}: expected a range of numbers above 0")
        if self.random_weight + sum(contrast.weight for contrast in self.contrasts.values()) <= 0:
            raise ValueError("contrasts: all weights are 0")
        return self


class EmptyRule(_Strict):
    """When a window holds nothing to segment, so that the network need not look at it.

    A window is empty if every voxel of it is below ``below`` in the channel ``channel``, on the network's
    grid: in the scan's own units (``intensity``, for CT), or as a share of the way from the scan's 1st to
    its 99th percentile (``range``, where intensities mean nothing by themselves). A window that reaches
    past the scan is never empty.
    """

    channel: int = Field(default=0, ge=0, description="index into the plan's channels")
    unit: Literal["intensity", "range"] = "intensity"
    below: float = Field(allow_inf_nan=False)


class CropRule(_Strict):
    """What of a scan its network need see: the box of its foreground, so that no window runs on air.

    Foreground is brighter than ``above`` of the way from the scan's own 0.5th to its 99.5th percentile, in
    the mean of blocks of about 4 mm, in any channel (`medseg.preprocess.foreground_box`). The margin must
    cover a block that tissue only touches. A scan's own statistics (``zscore``, ``range``) are then those of
    the box.
    """

    above: Fraction = 0.1
    margin_mm: float = Field(default=8.0, ge=0, allow_inf_nan=False)
    top_mm: Positive | None = Field(
        default=None,
        description="of the foreground only so much from its superior end down: a head without its neck",
    )


class InferencePlan(_Strict):
    """Defaults that a bundle carries for inference."""

    overlap: float = Field(default=0.5, ge=0, lt=1)
    gaussian_sigma: Positive = Field(
        default=0.125, description="of the window weights, as a share of the patch"
    )
    mirror_axes: tuple[int, ...] = Field(default=(), description="flips that test-time augmentation may use")
    empty: EmptyRule | None = Field(default=None, description="which windows to skip; none without it")
    largest_piece: bool = Field(
        default=False, description="of all that is segmented only the largest connected piece stays"
    )
    crop: CropRule | None = Field(default=None, description="which part of a scan to look at; all without it")


class CardPlan(_Strict):
    """What the model card says beyond figures, and what the bundle's licence is."""

    description: str = ""
    data: str = ""
    limits: str = "Research use only; not a medical device, not for diagnosis."
    licence: str = "Not stated by whoever trained this model: ask them before sharing it."


class Plan(_Strict):
    """Everything that decides a model. YAML in and out; see `Plan.from_yaml`."""

    format_version: Literal[1] = 1
    name: str
    dimensions: Literal[2, 3]
    channels: tuple[ChannelPlan, ...] = Field(min_length=1)
    labels: tuple[LabelSpec, ...] = Field(min_length=1)
    background: str = "background"
    regions: tuple[RegionSpec, ...] = Field(
        default=(), description="output channels that may overlap; empty: one channel per label, softmax"
    )
    totals: tuple[TotalSpec, ...] = Field(
        default=(), description="groups of labels that are also measured, and written as masks, as one"
    )
    grid: GridPlan = GridPlan()
    patch: tuple[Annotated[int, Field(ge=1)], ...]
    network: NetworkPlan = NetworkPlan()
    sampling: SamplingPlan = SamplingPlan()
    augmentation: AugmentationPlan = AugmentationPlan()
    loss: LossPlan = LossPlan()
    optimiser: OptimiserPlan = OptimiserPlan()
    schedule: SchedulePlan = SchedulePlan()
    synthesis: SynthesisPlan | None = Field(
        default=None, description="training images are made from label maps; None: they are read"
    )
    precision: Precision = "auto"
    inference: InferencePlan = InferencePlan()
    hold_back_every: int = Field(
        default=0, ge=0, description="every n-th case of the sorted list is never read by training; 0: none"
    )
    card: CardPlan = CardPlan()
    fingerprint: Fingerprint | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        d = self.dimensions
        if len(self.patch) != d:
            raise ValueError(f"patch {self.patch}: a {d}D plan needs {d} sizes")
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
        if unknown := sorted(set(net.refine_labels) - ids - {0}):
            raise ValueError(f"network.refine_labels: {unknown} are not among the labels {sorted(ids)}")
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
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'plan'}: {fault['msg']}" for fault in error.errors()
            )
            raise PlanInvalid(f"{name}: {faults}") from error


def dashed(name: str) -> str:
    """A total's name as it stands in a file's: its letters and digits, dashes between the words.

    Whatever the name, the result is no path: a model that came from elsewhere chooses it.
    """
    return "-".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFC", name)))


def labels_as_specs(labels: LabelSet) -> tuple[LabelSpec, ...]:
    """A `LabelSet` in the form a plan holds."""
    return tuple(LabelSpec(id=x.id, name=x.name, colour=x.colour, snomed=x.snomed) for x in labels)


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
