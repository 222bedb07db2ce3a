"""Everything needed to get the same labels again, as plain JSON values without patient data."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from medseg import __version__
from medseg.inference.flips import usable_mirror_axes
from medseg.pipeline.ensemble import joint_hash, joint_name
from medseg.pipeline.models import OpenModel
from medseg.pipeline.options import InferOptions
from medseg.plans import PostprocessStep, steps_as_plain

# Their versions can change a result; only what this process has loaded took part.
_LIBRARIES = ("numpy", "scipy", "SimpleITK", "pydicom", "openvino", "torch", "monai")


def provenance(
    models: Sequence[OpenModel],
    options: InferOptions,
    input_hash: str | None,
    execution: Mapping[str, Any],
    steps: tuple[PostprocessStep, ...],
) -> dict[str, Any]:
    """Versions, models, input, options, and how they were carried out.

    ``execution`` is what the engine tells of this scan; settings of the models' backends are added. Of an
    ensemble those that all members share stand first, and ``members`` lists each one's. ``steps`` are those
    of post-processing that were applied.
    """
    bundles = [model.bundle for model in models]
    document: dict[str, Any] = {
        "medseg": __version__,
        "model": {"name": joint_name(bundles), "sha256": joint_hash(bundles)},
    }
    settings = [_settings(model, options) for model in models]
    shared = {
        key: value
        for key, value in settings[0].items()
        if all(key in s and s[key] == value for s in settings)
    }
    if len(bundles) > 1:
        document["models"] = [{"name": bundle.name, "sha256": bundle.hash} for bundle in bundles]
        shared["members"] = settings
    return {
        **document,
        "input_sha256": input_hash,
        "options": options.to_json(),
        "execution": {**shared, **execution},
        "postprocess": steps_as_plain(steps),
        "libraries": {"python": platform.python_version(), **_library_versions()},
        "system": f"{platform.system()} {platform.machine()}",
    }


def _settings(model: OpenModel, options: InferOptions) -> dict[str, Any]:
    plan = model.bundle.plan
    return {
        **model.backend.settings,
        "overlap": plan.inference.overlap if options.overlap is None else options.overlap,
        "mirror_axes": list(usable_mirror_axes(plan)) if options.tta else [],
    }


def _library_versions() -> dict[str, str]:
    loaded = {name: sys.modules[name] for name in _LIBRARIES if sys.modules.get(name) is not None}
    return {name: str(getattr(module, "__version__", "unknown")) for name, module in loaded.items()}
