"""configs/metadata.json: the mandatory keys of a MONAI Bundle, filled from plan and scope.

Specification: https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import medseg
from medseg.models.scope import Scope
from medseg.plans import Plan

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
_RANGES = {"zscore": [-10.0, 10.0], "window": [-10.0, 10.0], "unit": [0.0, 1.0], "range": [0.0, 1.0]}


def monai_metadata(plan: Plan, scope: Scope) -> dict[str, Any]:
    """The mandatory keys of MONAI's metadata.json for a model."""
    channels = {str(n): name for n, name in enumerate(_input_names(plan))}
    names = plan.output_names
    shape = list(plan.patch)
    return {
        "schema": _SCHEMA,
        "version": medseg.__version__,
        "changelog": {medseg.__version__: "exported by medseg"},
        "monai_version": _installed("monai", "1.6.0"),
        "pytorch_version": _installed("torch", "2.10.0"),
        "numpy_version": _installed("numpy", "2.0.0"),
        "required_packages_version": {"nibabel": _installed("nibabel", "5.3.0")},
        "name": plan.name,
        "task": f"{plan.dimensions}D segmentation: {', '.join(plan.label_set.names)}",
        "description": scope.description,
        "authors": "made with medseg",
        "copyright": "see LICENSE",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": plan.channels[0].modality or "n/a",
                    "num_channels": plan.input_channels,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": _RANGES[plan.channels[0].normalisation],
                    "is_patch_data": True,
                    "channel_def": channels,
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(names),
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(n): name for n, name in enumerate(names)},
                }
            },
        },
    }


def _input_names(plan: Plan) -> list[str]:
    """What each channel of the network's input holds, in order."""
    around = range(-plan.grid.neighbours, plan.grid.neighbours + 1)
    return [f"{c.name}, slice {n:+d}" if n else c.name for c in plan.channels for n in around]


def _installed(package: str, otherwise: str) -> str:
    """Version of an installed package without its local part, else the lowest that medseg asks for."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return otherwise
