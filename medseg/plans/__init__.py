"""Fingerprint and Plan: what a dataset looks like, and everything that decides a model.

A plan is made by `medseg.plan`, read and edited by people as YAML, and travels inside the bundle.
Unknown keys are refused. Training and inference read the same object.
"""

from __future__ import annotations

from medseg.plans.fingerprint import ChannelStatistics, Fingerprint
from medseg.plans.inference import CardPlan, CropRule, EmptyRule, InferencePlan
from medseg.plans.labels import (
    IGNORED,
    LabelSpec,
    RegionSpec,
    TotalSpec,
    dashed,
    labels_as_specs,
    with_ignored,
)
from medseg.plans.loss import LossPlan
from medseg.plans.network import ChannelPlan, GridPlan, NetworkPlan
from medseg.plans.plan import Plan, load_yaml, read_plan
from medseg.plans.postprocess import PostprocessStep, steps_as_plain
from medseg.plans.strict import Precision
from medseg.plans.synthesis import ContrastSpec, IntensityPrior, SynthesisPlan, TissueSpec
from medseg.plans.training import AugmentationPlan, OptimiserPlan, SamplingPlan, SchedulePlan

__all__ = [
    "IGNORED",
    "AugmentationPlan",
    "CardPlan",
    "ChannelPlan",
    "ChannelStatistics",
    "ContrastSpec",
    "CropRule",
    "EmptyRule",
    "Fingerprint",
    "GridPlan",
    "InferencePlan",
    "IntensityPrior",
    "LabelSpec",
    "LossPlan",
    "NetworkPlan",
    "OptimiserPlan",
    "Plan",
    "PostprocessStep",
    "Precision",
    "RegionSpec",
    "SamplingPlan",
    "SchedulePlan",
    "SynthesisPlan",
    "TissueSpec",
    "TotalSpec",
    "dashed",
    "labels_as_specs",
    "load_yaml",
    "read_plan",
    "steps_as_plain",
    "with_ignored",
]
