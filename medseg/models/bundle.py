"""ModelBundle: a model on disk, opened without running anything that is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medseg.errors import ModelRefused
from medseg.labels import LabelSet
from medseg.models.manifest import MANIFEST, ONNX, WEIGHTS, Manifest, file_sha256, parse_manifest
from medseg.models.onnx_external import check_onnx
from medseg.models.quality import Quality
from medseg.models.scope import Scope
from medseg.models.tensors import read_layout
from medseg.plans import Plan, Precision

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class ModelBundle:
    """Weights, plan, label set, scope, training facts and checksums: everything infer needs.

    Made by `load_model` or `save_bundle`. A file's checksum is compared when the file is first asked
    for, so that opening a bundle costs nothing that is not used.

    Parameters
    ----------
    name, plan, scope, precision, execution, training, scores, quality
        As they stand in medseg.yaml. ``precision`` is the one the scores were measured with; ``quality`` is
        None where the model cannot estimate its own Dice.
    path
        The bundle's folder (for a zip: the extracted copy, which lives as long as the bundle).
    hash
        SHA-256 of medseg.yaml, and so of the plan, the scope and every file's checksum.
    files
        Relative path to SHA-256 of every file.
    """

    name: str
    path: Path
    plan: Plan
    scope: Scope
    precision: Precision
    execution: Mapping[str, Any]
    training: Mapping[str, Any]
    scores: Mapping[str, Any]
    hash: str
    files: Mapping[str, str]
    medseg_version: str
    quality: Quality | None = None
    _checked: set[str] = field(default_factory=set, repr=False)
    _keep: object = field(default=None, repr=False)  # the temporary folder of an extracted zip

    @property
    def label_set(self) -> LabelSet:
        """The labels the model tells apart."""
        return self.plan.label_set

    @property
    def weights_path(self) -> Path:
        """models/model.safetensors, its checksum compared.

        Raises
        ------
        ModelRefused
            If the file is not the one the bundle was saved with.
        """
        return self.file(WEIGHTS)

    @property
    def onnx_path(self) -> Path | None:
        """models/model.onnx, safe to hand to an ONNX runtime, or None where the bundle has none.

        Its checksum and that of the weights it points into are compared; every external tensor must
        lie inside model.safetensors beside it, and every operator must be a standard one.

        Raises
        ------
        ModelRefused
            If any of this does not hold.
        """
        if ONNX not in self.files:
            return None
        path = self.file(ONNX)
        if "onnx content" not in self._checked:
            check_onnx(path.read_bytes(), read_layout(self.weights_path), str(path))
            self._checked.add("onnx content")
        return path

    def weights(self) -> Weights:
        """The tensors by name, in the precision they are stored in. Read anew on each call."""
        from safetensors.numpy import load  # bytes, not a path: what was hashed is what is parsed

        raw = self._read(WEIGHTS)
        read_layout(raw, str(self.path / WEIGHTS))
        tensors: Weights = load(raw)
        return tensors

    def text(self, relative: str) -> str:
        """A text file of the bundle, e.g. ``docs/README.md``, its checksum compared."""
        return self._read(relative).decode("utf-8")

    def file(self, relative: str) -> Path:
        """Path of a file of the bundle, its checksum compared (once).

        Raises
        ------
        ModelRefused
            If the bundle does not list it, or its content is another.
        """
        path = self.path / relative
        if relative in self._checked:
            return path
        self._compare(relative, file_sha256(self._existing(relative)))
        return path

    def _read(self, relative: str) -> bytes:
        raw = self._existing(relative).read_bytes()
        self._compare(relative, hashlib.sha256(raw).hexdigest())
        return raw

    def _existing(self, relative: str) -> Path:
        if relative not in self.files:
            raise ModelRefused(f"{self.path}: {relative} is not among the bundle's files")
        path = self.path / relative
        if not path.is_file():
            raise ModelRefused(f"{self.path}: {relative} is missing: fetch or export the model again")
        return path

    def _compare(self, relative: str, found: str) -> None:
        expected = self.files[relative]
        if found != expected:
            raise ModelRefused(
                f"{self.path}: {relative} was altered or damaged: SHA-256 {found[:16]}..., "
                f"{MANIFEST} says {expected[:16]}...: fetch or export the model again"
            )
        self._checked.add(relative)


def open_folder(folder: Path, *, keep: object = None) -> ModelBundle:
    """Open a bundle's folder: parse medseg.yaml, see that every file is there, read nothing else.

    Raises
    ------
    ModelRefused
        If it is no bundle, of another format, or incomplete.
    """
    path = folder / MANIFEST
    if not path.is_file():
        inside = folder / "bundle"  # of a training's folder
        hint = f": did you mean {inside}?" if (inside / MANIFEST).is_file() else ""
        raise ModelRefused(f"{folder}: no {MANIFEST} in it: this is not a model bundle{hint}")
    raw = path.read_bytes()
    bundle = from_manifest(parse_manifest(raw, str(folder)), raw, folder, keep)
    missing = [name for name in bundle.files if not (folder / name).is_file()]
    if missing:
        raise ModelRefused(f"{folder}: {', '.join(missing)} missing: fetch or export the model again")
    return bundle


def from_manifest(manifest: Manifest, raw: bytes, folder: Path, keep: object = None) -> ModelBundle:
    """The bundle that a checked manifest describes. ``raw`` are the bytes it was parsed from."""
    return ModelBundle(
        name=manifest.name,
        path=folder,
        plan=manifest.plan,
        scope=manifest.scope,
        precision=manifest.precision,
        execution=manifest.execution,
        training=manifest.training,
        scores=manifest.scores,
        hash=hashlib.sha256(raw).hexdigest(),
        files=manifest.files,
        medseg_version=manifest.medseg_version,
        quality=manifest.quality,
        _keep=keep,
    )
