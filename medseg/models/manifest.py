"""medseg.yaml: what a bundle says about itself, parsed and checked before anything else is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from medseg.errors import ModelRefused
from medseg.models.quality import Quality
from medseg.models.scope import Scope
from medseg.plans import Plan, Precision

FORMAT_VERSION: Literal[1] = 1
MANIFEST = "medseg.yaml"
WEIGHTS = "models/model.safetensors"
ONNX = "models/model.onnx"
METADATA = "configs/metadata.json"
LICENCE = "LICENSE"
CARD = "docs/README.md"
REQUIRED = (WEIGHTS, METADATA, LICENCE, CARD)

_LARGEST = 4 * 2**20
_MOST_VALUES = 200_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is ten times as quick
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """Content of medseg.yaml. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT_VERSION
    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]
    medseg_version: str
    precision: Precision = Field(description="what the scores below were measured with")
    scope: Scope
    scores: dict[str, JsonValue] = Field(description="validation scores, and of which cases")
    training: dict[str, JsonValue] = Field(description="data, steps, seed, versions, duration")
    execution: dict[str, JsonValue] = Field(description="defaults for running it; what the ONNX file allows")
    plan: Plan
    quality: Quality | None = Field(default=None, description="what Dice a confidence stands for")
    files: dict[str, Sha256] = Field(description="SHA-256 of every other file of the bundle")

    @field_validator("files")
    @classmethod
    def _safe_and_complete(cls, files: dict[str, str]) -> dict[str, str]:
        for path in files:
            if (fault := path_fault(path)) is not None:
                raise ValueError(f"file {path!r} {fault}")
        missing = [path for path in REQUIRED if path not in files]
        if missing:
            raise ValueError(f"no checksum for {', '.join(missing)}")
        return files

    @model_validator(mode="after")
    def _quality_of_the_plan(self) -> Manifest:
        if self.quality is None:
            return self
        if self.plan.regions:
            raise ValueError("quality: a model with regions has none")
        unknown = sorted({label.id for label in self.quality.labels} - set(self.plan.label_set.ids))
        if unknown:
            raise ValueError(f"quality: labels {unknown} are not the plan's")
        return self

    def to_yaml(self) -> str:
        """The text of medseg.yaml. Without ``quality`` it does not name it, as before there was any."""
        values = self.model_dump(mode="json", exclude={"quality"} if self.quality is None else None)
        text: str = yaml.dump(
            values, Dumper=_DUMPER, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
        )
        return text


def path_fault(path: str) -> str | None:
    """Why a path may not stand in a bundle's list of files, or None. The same rules on every system."""
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or ":" in path or any(ord(c) < 32 for c in path):
        return "is not a plain relative path with forward slashes"
    if any(part in ("", ".", "..") for part in parts) or str(PurePosixPath(path)) != path:
        return "leads out of the bundle or is not in its shortest form"
    if any(_RESERVED.match(part) or part.endswith((".", " ")) for part in parts):
        return "is a name that Windows reserves"
    if path.lower() == MANIFEST:
        return "lists itself"
    return None


def parse_manifest(raw: bytes, where: str) -> Manifest:
    """Check the bytes of a medseg.yaml. ``where`` stands for the bundle in errors.

    Raises
    ------
    ModelRefused
        If it is not YAML, of another format version, has unknown or missing keys, or lists paths that
        leave the bundle; every fault is named.
    """
    if len(raw) > _LARGEST:
        raise ModelRefused(f"{where}: {MANIFEST} has {len(raw)} bytes, expected at most {_LARGEST}")
    try:
        values = yaml.load(raw, Loader=_LOADER)  # a safe loader: plain values only, no objects
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ModelRefused(f"{where}: {MANIFEST} is not plain YAML: {error}") from error
    if not isinstance(values, dict):
        raise ModelRefused(f"{where}: {MANIFEST} holds {type(values).__name__}, expected a mapping")
    _refuse_expansion(values, where)
    version = values.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ModelRefused(
            f"{where}: bundle format {version!r}, this medseg reads {FORMAT_VERSION}: "
            "update medseg, or export the model again"
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors()[:20])
        raise ModelRefused(f"{where}: {MANIFEST}: {faults}") from error


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse_expansion(values: Mapping[Any, Any], where: str) -> None:
    """Refuse YAML whose aliases unfold into millions of values, or into themselves."""
    seen = 0
    stack: list[Any] = [values]
    while stack:
        value = stack.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise ModelRefused(f"{where}: {MANIFEST} unfolds to more than {_MOST_VALUES} values")
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
