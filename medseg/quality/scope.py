"""check_scope: is a scan one that the model was made for?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.geometry import Geometry
from medseg.models import ModelBundle, Scope
from medseg.quality.features import channel_features, coarse_layout, in_ras_order, sorted_lengths
from medseg.quality.foreground import FOREGROUND_FEATURES, foreground_features
from medseg.verdict import OK, Reason, Verdict
from medseg.volume import Volume


def check_scope(volume: Volume, model: ModelBundle | Scope) -> Verdict:
    """Whether a scan is one the model was made for.

    Returns
    -------
    Verdict
        ``ok``, or ``warning`` with the reasons ``outside-scope-dimensions``, ``-modality``,
        ``-spacing``, ``-extent``, ``-appearance``. What the file does not tell (modality, spacing) is not
        held against it. A 3D scan is inside the scope of a 2D model of slices, not of one of pictures,
        though its slices are segmented by either.
    """
    scope = model.scope if isinstance(model, ModelBundle) else model
    name = f"model {model.name!r}" if isinstance(model, ModelBundle) else "the model"
    geometry = volume.geometry
    if scope.dimensions == 3 and geometry.is_2d:
        text = f"{name} is for 3D scans, this is a 2D image"
        return Verdict.of("warning", "outside-scope-dimensions", text)
    reasons = [*_modality(volume, scope, name), *_lengths(geometry, scope, name)]
    if isinstance(model, ModelBundle) and _is_of_pictures(model) and not geometry.is_2d:
        text = f"{name} is for 2D images, this is a 3D scan: its slices were segmented one by one"
        reasons.insert(0, Reason("outside-scope-dimensions", text))
    reasons += _appearance(volume, scope, name)
    return Verdict("warning", tuple(reasons)) if reasons else OK


def _is_of_pictures(model: ModelBundle) -> bool:
    """Slices of scans have a known orientation, pictures have none."""
    return model.plan.dimensions == 2 and model.plan.grid.orientation is None


def _modality(volume: Volume, scope: Scope, name: str) -> list[Reason]:
    modality = volume.source.modality
    if modality is None or not scope.modalities or modality in scope.modalities:
        return []
    text = f"{name} is for {' or '.join(scope.modalities)}, this is {modality}"
    return [Reason("outside-scope-modality", text)]


def _lengths(geometry: Geometry, scope: Scope, name: str) -> list[Reason]:
    if not geometry.spacing_known:
        return []
    reasons = []
    spacing, extent = sorted_lengths(geometry, scope.dimensions)
    limits = (
        ("spacing", "voxels of", spacing, scope.spacing_min_mm, scope.spacing_max_mm),
        ("extent", "a field of view of", extent, scope.extent_min_mm, scope.extent_max_mm),
    )
    for what, words, values, low, high in limits:
        if low is None or high is None:
            continue
        if any(not a <= v <= b for v, a, b in zip(values, low, high, strict=True)):
            text = (
                f"{name} is for {words} {_mm(low)} to {_mm(high)} mm (sorted), this scan has {_mm(values)} mm"
            )
            reasons.append(Reason(f"outside-scope-{what}", text))
    return reasons


def _appearance(volume: Volume, scope: Scope, name: str) -> list[Reason]:
    flat = scope.dimensions == 2
    faults = []
    for index, (channel, ranges) in enumerate(zip(volume.data, scope.features, strict=False)):
        if not ranges:
            continue
        turned = in_ras_order(channel, volume.geometry)
        found = channel_features(turned, flat=flat)
        layout = coarse_layout(turned, flat=flat)
        if layout is not None and index < len(scope.layouts) and len(scope.layouts[index]) == layout.size:
            found["layout"] = float(layout @ np.array(scope.layouts[index]))
        prefix = f"channel {index}: " if len(scope.features) > 1 else ""
        if found and volume.geometry.spacing_known and any(key in ranges for key in FOREGROUND_FEATURES):
            foreground = foreground_features(channel, volume.geometry)
            if not foreground:
                faults.append(f"{prefix}nothing stands out from the background")
            found |= foreground
        if not found:
            faults.append(f"{prefix}every voxel has the same value")
        elif "entropy" in ranges and "entropy" not in found:
            faults.append(f"{prefix}only two values occur, like a mask")
        faults += [
            f"{prefix}{key} {found[key]:.3g} (expected {limits.low:.3g} to {limits.high:.3g})"
            for key, limits in ranges.items()
            if key in found and not limits.low <= found[key] <= limits.high
        ]
    if not faults:
        return []
    text = (
        f"this scan does not look like those {name} was made from (another body part, modality, crop or "
        f"orientation?): {'; '.join(faults)}"
    )
    return [Reason("outside-scope-appearance", text)]


def _mm(values: Sequence[float]) -> str:
    return " x ".join(f"{v:.3g}" for v in values)
