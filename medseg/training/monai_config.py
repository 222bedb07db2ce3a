"""configs/inference.json of an exported MONAI Bundle: medseg's inference in MONAI's own components.

Only names that MONAI, numpy and torch resolve stand in it, so that the bundle runs where medseg is not
installed. The workflow needs no pytorch-ignite; an ``evaluator`` for tools that expect one is there too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medseg.errors import UsageError
from medseg.networks.segresnet import segresnet_arguments
from medseg.networks.swin_unetr import swin_unetr_arguments
from medseg.networks.unet import dynunet_arguments
from medseg.plans import ChannelPlan, Plan

Config = dict[str, Any]

# MONAI's classes whose tensors a network of ours bears under the same names; what it has beside them is the
# heads of deep supervision. (BasicUNetPlusPlus gives a list, which MONAI's inferer does not take.)
_MONAIS: dict[str, tuple[str, Callable[[Plan], Config]]] = {
    "unet": ("DynUNet", dynunet_arguments),
    "segresnet": ("SegResNetDS", segresnet_arguments),
    "swin_unetr": ("SwinUNETR", swin_unetr_arguments),
}

# A plan's one orientation, its axes in the order in which the network sees them.
_AXCODES = {None: "RAS", "axial": "RAS", "coronal": "RSA", "sagittal": "ASR"}


def inference_config(plan: Plan) -> Config:
    """The whole of inference.json for a plan.

    Raises
    ------
    UsageError
        If the plan's network is not one of MONAI's, its outputs are regions, it crops scans, or it sees
        neighbouring slices.
    """
    if plan.regions:
        raise UsageError(
            f"model {plan.name!r} gives regions that may overlap: only models whose labels exclude each "
            "other can be exported to a MONAI Bundle"
        )
    net = plan.network
    if net.name not in _MONAIS or net.encoder != "plain" or net.attention_gates:
        raise UsageError(
            f"network {net.name!r}, encoder {net.encoder!r}: only {', '.join(_MONAIS)} with a plain encoder "
            "and no attention gates are MONAI's own and can be exported"
        )
    target, arguments = _MONAIS[net.name]
    if plan.grid.neighbours:
        raise UsageError(
            f"model {plan.name!r} sees neighbouring slices (grid.neighbours), MONAI's SliceInferer does "
            "not give them: only 2D models of lone slices can be exported to a MONAI Bundle"
        )
    if plan.inference.crop is not None:
        raise UsageError(
            f"model {plan.name!r} crops scans (inference.crop), for which MONAI has no such transform: only "
            "models that look at whole scans can be exported to a MONAI Bundle"
        )
    return {
        "imports": ["$import collections", "$import functools", "$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "pattern": "*.png" if pictures(plan) else "*.nii.gz",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "datalist": _datalist(plan),
        "network_def": {"_target_": target, **arguments(plan)},
        "network": "$@network_def.to(@device).eval()",
        "load_weights": "$@network.load_state_dict("
        "torch.load(@checkpoint, map_location=@device, weights_only=True))",
        "inferer": _inferer(plan),
        "preprocessing": {"_target_": "Compose", "transforms": [_load(), *_grid(plan), *_intensity(plan)]},
        "inference": _inference(),
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(plan)},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "evaluator": _evaluator(),
        "initialize": ["$@load_weights"],
        "run": [
            "$torch.set_grad_enabled(False)",
            # One scan at a time through all three, none kept.
            "$collections.deque(map(@postprocessing, map(@inference, @dataset)), maxlen=0)",
        ],
    }


def pictures(plan: Plan) -> bool:
    """Whether the model is for pictures (PNG), as opposed to scans, whole or slice by slice."""
    if plan.dimensions == 3 or plan.grid.slice_axis is not None:
        return False
    return plan.fingerprint is None or plan.fingerprint.shape_max[2] == 1


def _datalist(plan: Plan) -> str:
    """Files of the folder; with several channels named as nnU-Net names them, ``_0000``, ``_0001``."""
    files = "sorted(glob.glob(@dataset_dir + '/' + @pattern))"
    if len(plan.channels) == 1:
        return f"$[{{'image': path}} for path in {files}]"
    channels = [f"path.replace('_0000.', '_{n:04d}.')" for n in range(len(plan.channels))]
    return f"$[{{'image': [{', '.join(channels)}]}} for path in {files} if '_0000.' in path]"


def _load() -> Config:
    return {"_target_": "LoadImaged", "keys": "image", "image_only": True, "ensure_channel_first": True}


def _grid(plan: Plan) -> list[Config]:
    if pictures(plan):
        return []
    steps: list[Config] = []
    if plan.grid.orientation is not None:
        steps.append(
            {
                "_target_": "Orientationd",
                "keys": "image",
                "axcodes": _AXCODES[plan.grid.slice_axis],
                "labels": [["L", "R"], ["P", "A"], ["I", "S"]],
            }
        )
    if plan.grid.spacing_mm is not None:
        spacing: list[float] = list(plan.grid.spacing_mm)
        if plan.dimensions == 2:
            spacing[2] = -1.0  # MONAI: keep this axis as it is
        steps.append(
            {
                "_target_": "Spacingd",
                "keys": "image",
                "pixdim": spacing,
                "mode": "bilinear",
                "padding_mode": "border",
                "scale_extent": True,  # as medseg: the field of view stays, to half a voxel
                "align_corners": True,  # MONAI asks for it with scale_extent
            }
        )
    return steps


def _intensity(plan: Plan) -> list[Config]:
    channels = plan.channels
    if all(_normalised_as(c) == _normalised_as(channels[0]) for c in channels):
        return [_normalise(channels[0], "image")]
    keys = [f"image_{n}" for n in range(len(channels))]
    split = {
        "_target_": "SplitDimd",
        "keys": "image",
        "output_postfixes": [str(n) for n in range(len(channels))],
        "dim": 0,
        "keepdim": True,
    }
    together = {"_target_": "ConcatItemsd", "keys": keys, "name": "image", "dim": 0}
    drop = {"_target_": "DeleteItemsd", "keys": keys}
    return [split, *(_normalise(c, key) for c, key in zip(channels, keys, strict=True)), together, drop]


def _normalised_as(channel: ChannelPlan) -> Config:
    return channel.model_dump(exclude={"name", "modality"})


def _normalise(channel: ChannelPlan, key: str) -> Config:
    if channel.normalisation == "zscore":
        return {"_target_": "NormalizeIntensityd", "keys": key, "channel_wise": True}
    assert channel.low is not None and channel.high is not None  # noqa: PT018 - the plan's validator saw to it
    low, high = 0.0, 1.0
    if channel.normalisation == "window":
        low = (channel.low - channel.mean) / channel.std
        high = (channel.high - channel.mean) / channel.std
    return {
        "_target_": "ScaleIntensityRanged",
        "keys": key,
        "a_min": channel.low,
        "a_max": channel.high,
        "b_min": low,
        "b_max": high,
        "clip": True,
    }


def _inferer(plan: Plan) -> Config:
    slices = plan.dimensions == 2 and not pictures(plan)
    return {
        "_target_": "SliceInferer" if slices else "SlidingWindowInferer",
        **({"spatial_dim": 2} if slices else {}),
        "roi_size": list(plan.patch),
        "sw_batch_size": 1,
        "overlap": plan.inference.overlap,
        "mode": "gaussian",
        "sigma_scale": plan.inference.gaussian_sigma,
        "padding_mode": "constant",
        "cval": 0.0,
    }


def _inference(key: str = "pred") -> Config:
    """From ``image`` to logits under ``pred``; transforms, so that a plain `map` runs them."""
    return {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "CopyItemsd", "keys": "image", "names": key},
            {"_target_": "ToDeviced", "keys": key, "device": "@device"},
            _lambda(key, "$lambda image: image.unsqueeze(0)"),
            _lambda(key, "$functools.partial(@inferer, network=@network)"),
            _lambda(key, "$lambda logits: logits.squeeze(0)"),
            {"_target_": "ToDeviced", "keys": key, "device": "cpu"},
        ],
    }


def _lambda(key: str, function: str) -> Config:
    return {"_target_": "Lambdad", "keys": key, "func": function, "track_meta": False}


def _postprocessing(plan: Plan) -> list[Config]:
    """Logits back to the scan's own grid, the largest wins, channels become the dataset's own ids."""
    ids = list(plan.class_ids)
    steps: list[Config] = [
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    ]
    if ids != list(range(len(ids))):
        steps.append(
            {
                "_target_": "MapLabelValued",
                "keys": "pred",
                "orig_labels": list(range(len(ids))),
                "target_labels": ids,
            }
        )
    small = max(ids) <= 255
    steps.append(
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "seg",
            "output_ext": ".png" if pictures(plan) and small else ".nii.gz",
            "output_dtype": "$torch.uint8" if small else "$torch.uint16",
            "resample": False,
            "separate_folder": False,
            "print_log": False,
        }
    )
    return steps


def _evaluator() -> Config:
    """For tools that drive a bundle through ignite's engine; ``run`` does not use it."""
    return {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
        "amp": False,
    }
