"""Which loss trains a network, and how its parts weigh."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medseg.plans.strict import Fraction, Positive, Strict

LossName = Literal[
    "dice",
    "dice_ce",
    "generalised_dice",
    "focal",
    "tversky",
    "focal_tversky",
    "topk_ce",
    "dice_topk",
    "boundary",
    "hausdorff",
    "cldice",
]
ClassWeights = Literal["none", "inverse", "inverse_sqrt"]

_ADDED = ("boundary", "hausdorff", "cldice")
_DICE_AND_CE = ("dice_ce", "dice_topk", *_ADDED)
_CE = (*_DICE_AND_CE, "topk_ce")
# The losses that each setting says something to; all others would pass it over in silence.
_SPEAKS_TO: dict[str, tuple[str, ...]] = {
    "dice_weight": _DICE_AND_CE,
    "ce_weight": _DICE_AND_CE,
    "label_smoothing": _CE,
    "class_weights": (*_CE, "focal"),
    "focal_gamma": ("focal",),
    "tversky_false_positives": ("tversky", "focal_tversky"),
    "tversky_false_negatives": ("tversky", "focal_tversky"),
    "focal_tversky_gamma": ("focal_tversky",),
    "topk_fraction": ("topk_ce", "dice_topk"),
    "added_weight": _ADDED,
    "added_ramp": _ADDED,
    "skeleton_steps": ("cldice",),
}


class LossPlan(Strict):
    """The loss. ``dice_ce`` is soft Dice (over foreground) plus cross-entropy.

    ``boundary``, ``hausdorff`` and ``cldice`` add their term to ``dice_ce``. A setting that the loss does
    not know must stay at its default.
    """

    name: LossName = Field(
        default="dice_ce",
        description="dice_ce, or one for rare structures, fuzzy borders or thin tubes; see docs/losses.md",
    )
    dice_weight: float = Field(default=1.0, description="weight of soft Dice, where cross-entropy joins it")
    ce_weight: float = Field(default=1.0, description="weight of cross-entropy, where soft Dice joins it")
    label_smoothing: Fraction = Field(
        default=0.0, description="share of a voxel's label that is spread evenly over all, in cross-entropy"
    )
    class_weights: ClassWeights = Field(
        default="none",
        description="how much a voxel counts in cross-entropy and focal loss: the same, or by one over the "
        "share of voxels that its class has in the fingerprint, or by that number's square root",
    )
    focal_gamma: Annotated[float, Field(ge=1)] = Field(
        default=2.0, description="focal: how fast a voxel that is nearly right stops counting"
    )
    tversky_false_positives: Positive = Field(
        default=0.3, description="tversky, focal_tversky: what a voxel found wrongly costs"
    )
    tversky_false_negatives: Positive = Field(
        default=0.7, description="tversky, focal_tversky: what a voxel missed costs; more finds more"
    )
    focal_tversky_gamma: Annotated[float, Field(ge=1)] = Field(
        default=4 / 3, description="focal_tversky: 1 - index to the power of one over this; 1: tversky"
    )
    topk_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="topk_ce, dice_topk: share of the voxels, the worst, that count"
    )
    added_weight: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="boundary, hausdorff, cldice: weight of the term that joins dice_ce"
    )
    added_ramp: tuple[Fraction, Fraction] = Field(
        default=(0.0, 0.5),
        description="boundary, hausdorff, cldice: shares of the training between which that weight rises "
        "from 0, in a line; two equal ones: at once",
    )
    skeleton_steps: Annotated[int, Field(ge=1)] = Field(
        default=3, description="cldice: erosions down to the skeleton; the widest tube's radius in voxels"
    )

    @model_validator(mode="after")
    def _consistent(self) -> LossPlan:
        if self.added_ramp[0] > self.added_ramp[1]:
            raise ValueError(f"added_ramp {list(self.added_ramp)}: expected the earlier share first")
        for setting, losses in _SPEAKS_TO.items():
            default = type(self).model_fields[setting].default
            if self.name not in losses and getattr(self, setting) != default:
                raise ValueError(
                    f"{setting} {getattr(self, setting)}: loss {self.name!r} has no such part: leave it out, "
                    f"or choose {' or '.join(losses)}"
                )
        return self


def check_loss(loss: LossPlan, *, paired_sides: bool, counted: bool) -> None:
    """Refuse a loss that the rest of the plan cannot serve.

    Parameters
    ----------
    paired_sides
        Whether the network has paired sides, which have a loss of their own.
    counted
        Whether the plan has a fingerprint, which counted the voxels of each class.
    """
    if paired_sides and (loss.name != "dice_ce" or loss.class_weights != "none"):
        raise ValueError(
            f"loss {loss.name!r}, class_weights {loss.class_weights!r}: network.paired_sides is trained by "
            "dice_ce without class weights only; leave one of both out"
        )
    if loss.class_weights != "none" and not counted:
        raise ValueError(
            f"loss.class_weights {loss.class_weights!r}: the plan has no fingerprint to take them from; make "
            "the plan with 'medseg plan', or set them to none"
        )
