"""save_bundle, save_with_quality: write a model so that it exists whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

import medseg
from medseg.errors import ModelRefused, UsageError, WriteFailed
from medseg.models.bundle import ModelBundle, open_folder
from medseg.models.folders import whole_folder, write_synced
from medseg.models.manifest import (
    CARD,
    LICENCE,
    MANIFEST,
    METADATA,
    ONNX,
    WEIGHTS,
    Manifest,
    file_sha256,
)
from medseg.models.metadata import monai_metadata
from medseg.models.quality import Quality
from medseg.models.scope import Scope
from medseg.models.verify import verify_bundle
from medseg.plans import Plan, Precision


def save_bundle(
    folder: Path | str,
    *,
    plan: Plan,
    weights: Mapping[str, NDArray[Any]],
    build_onnx: Callable[[Path], bytes] | None,
    scope: Scope,
    precision: Precision,
    execution: Mapping[str, Any],
    training: Mapping[str, Any],
    scores: Mapping[str, Any],
    card: str,
    licence: str,
    quality: Quality | None = None,
) -> ModelBundle:
    """Write a model bundle, verify it, and give it its name.

    It is written into a temporary sibling of ``folder`` and renamed once `verify_bundle` finds nothing.

    Parameters
    ----------
    folder
        Where the bundle goes. A bundle that is already there is replaced; anything else is refused.
    plan
        What made the model; ``plan.name`` is the model's name.
    weights
        Tensors by name, in the precision to keep (float16 halves the size).
    build_onnx
        Given the path of the safetensors file that has just been written, returns the bytes of
        model.onnx, whose initialisers are external data in that very file (location
        ``model.safetensors``, byte offsets as in `medseg.models.tensors.read_layout`). None: no ONNX.
    execution, training, scores
        Plain values (JSON); a missing number is None, NaN is refused.
    card, licence
        Texts of docs/README.md and LICENSE.
    quality
        What `medseg.quality.fit_quality` learnt; None where nobody has measured it.

    Raises
    ------
    UsageError
        If ``folder`` exists and is no bundle, or a value is not plain.
    WriteFailed
        If what was written does not verify.
    """
    folder = Path(folder)
    execution, training, scores = (
        _plain(execution, "execution"),
        _plain(training, "training"),
        _plain(scores, "scores"),
    )
    with whole_folder(folder, marker=MANIFEST) as part:
        _write_files(part, plan, weights, build_onnx, scope, card, licence)
        manifest = Manifest(
            name=plan.name,
            medseg_version=medseg.__version__,
            precision=precision,
            scope=scope,
            plan=plan,
            execution=execution,
            training=training,
            scores=scores,
            quality=quality,
            files={name: file_sha256(part / name) for name in _written(part)},
        )
        write_synced(part / MANIFEST, manifest.to_yaml().encode("utf-8"))
        bundle = _verified(part)
    return replace(bundle, path=folder)


def save_with_quality(bundle: ModelBundle, folder: Path | str, quality: Quality | None) -> ModelBundle:
    """Write a bundle again with another quality section (None: without one), everything else as it is.

    Parameters
    ----------
    bundle
        The model; each of its files must be the one that it was saved with.
    folder
        Where the new bundle goes; may be the bundle's own folder, which is replaced.
    quality
        What `medseg.quality.fit_quality` learnt.

    Raises
    ------
    UsageError
        If ``folder`` exists and is no bundle, or the section does not belong to the model's plan.
    ModelRefused
        If a file of the bundle was altered.
    WriteFailed
        If what was written does not verify.
    """
    return _saved_again(bundle, folder, {"quality": quality}, {})


def save_with_plan(
    bundle: ModelBundle, folder: Path | str, plan: Plan, *, training: Mapping[str, Any], card: str
) -> ModelBundle:
    """Write a bundle again with a plan that differs in what is done round the network, and what tells of it.

    Parameters
    ----------
    bundle
        The model; each of its files must be the one that it was saved with.
    folder
        Where the new bundle goes; may be the bundle's own folder, which is replaced.
    plan
        Equal to the bundle's but for ``inference``: the weights are kept.
    training, card
        As in `save_bundle`.

    Raises
    ------
    UsageError, ModelRefused, WriteFailed
        As `save_with_quality`; `UsageError` too if the plan would need other weights.
    """
    if plan.model_copy(update={"inference": bundle.plan.inference}) != bundle.plan:
        raise UsageError(
            f"model {bundle.name!r}: the plan differs in more than inference, the weights do not"
        )
    changes = {"plan": plan, "training": _plain(training, "training")}
    return _saved_again(bundle, folder, changes, {CARD: card.encode("utf-8")})


def _saved_again(
    bundle: ModelBundle, folder: Path | str, changes: Mapping[str, Any], contents: Mapping[str, bytes]
) -> ModelBundle:
    """The bundle with other values in its manifest and other contents of files, all else as it is."""
    folder = Path(folder)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    values: dict[str, Any] = {
        "name": bundle.name,
        "medseg_version": bundle.medseg_version,
        "precision": bundle.precision,
        "scope": bundle.scope,
        "plan": bundle.plan,
        "execution": dict(bundle.execution),
        "training": dict(bundle.training),
        "scores": dict(bundle.scores),
        "quality": bundle.quality,
        "files": {**bundle.files, **hashes},
        **changes,
    }
    try:
        manifest = Manifest(**values)
    except ValidationError as error:
        faults = "; ".join(fault["msg"] for fault in error.errors())
        raise UsageError(f"model {bundle.name!r}: {faults}") from error
    with whole_folder(folder, marker=MANIFEST) as part:
        for name in bundle.files:  # reading one compares its checksum
            write_synced(part / name, contents[name] if name in contents else bundle._read(name))
        write_synced(part / MANIFEST, manifest.to_yaml().encode("utf-8"))
        saved = _verified(part)
    return replace(saved, path=folder)


def _write_files(
    part: Path,
    plan: Plan,
    weights: Mapping[str, NDArray[Any]],
    build_onnx: Callable[[Path], bytes] | None,
    scope: Scope,
    card: str,
    licence: str,
) -> None:
    from safetensors.numpy import save

    write_synced(part / WEIGHTS, save({name: np.ascontiguousarray(value) for name, value in weights.items()}))
    if build_onnx is not None:
        write_synced(part / ONNX, build_onnx(part / WEIGHTS))
    metadata = json.dumps(monai_metadata(plan, scope), indent=2, allow_nan=False)
    write_synced(part / METADATA, metadata.encode("utf-8"))
    write_synced(part / LICENCE, licence.encode("utf-8"))
    write_synced(part / CARD, card.encode("utf-8"))


def _written(part: Path) -> list[str]:
    return sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())


def _verified(part: Path) -> ModelBundle:
    """Open what was written and verify it; a fault here is ours, so it is no `ModelRefused`."""
    try:
        bundle = open_folder(part)
        findings = verify_bundle(bundle)
    except ModelRefused as error:
        raise WriteFailed(f"the bundle just written does not load: {error}") from error
    if findings:
        raise WriteFailed("the bundle just written is faulty: " + "; ".join(x.message for x in findings))
    return bundle


def _plain(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values as they read back from YAML: tuples as lists, keys as text."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(values), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: expected plain finite values: {error}") from error
    return plain
