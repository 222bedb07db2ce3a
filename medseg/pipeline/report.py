"""What became of each case: the ``infer --json`` document, the sidecar, the exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.pipeline.segmentation import Segmentation
from medseg.verdict import Verdict

FORMAT_VERSION = 1

# Where an output is: its path, one path for each format, or those of each mask by name.
Written = Path | list[Path] | dict[str, list[Path]]
_WRITTEN = ("ok", "repaired", "warning")


@dataclass(frozen=True, slots=True)
class InferReport:
    """What `infer_files` did, one entry per case in the order of the inputs.

    ``left_out`` are inputs that were no cases: results of earlier calls.
    """

    cases: tuple[Mapping[str, Any], ...]
    left_out: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The ``infer --json`` document."""
        return {
            "format_version": FORMAT_VERSION,
            "cases": [dict(case) for case in self.cases],
            "left_out": [str(path) for path in self.left_out],
        }

    @property
    def exit_code(self) -> int:
        """0 all written; 3 every case refused; 4 some refused or failed."""
        verdicts = [case["verdict"] for case in self.cases]
        if all(verdict in _WRITTEN for verdict in verdicts):
            return 0
        return 3 if all(verdict == "refused" for verdict in verdicts) else 4


def done_case(input_name: str, written: Mapping[str, Written], segmentation: Segmentation) -> dict[str, Any]:
    """The entry of a case that was segmented. ``written`` maps a kind of output to where it is."""
    document: dict[str, Any] = {"input": input_name}
    document |= {kind: _as_text(where) for kind, where in written.items()}
    document["model"] = segmentation.model
    document |= _verdict(segmentation.verdict)
    document["labels"] = [measurement.to_json() for measurement in segmentation.measurements]
    document["totals"] = [total.to_json() for total in segmentation.totals]
    document["asymmetry"] = [asymmetry.to_json() for asymmetry in segmentation.asymmetries]
    document["timings_s"] = {stage: round(seconds, 4) for stage, seconds in segmentation.timings_s.items()}
    document["memory"] = dict(segmentation.memory)
    document["provenance"] = dict(segmentation.provenance)
    return document


def undone_case(
    input_name: str, verdict: Verdict, model: str | None = None, provenance: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The entry of a case that was refused, failed or is not finished: no segmentation."""
    return {
        "input": input_name,
        "segmentation": None,
        "model": model,
        **_verdict(verdict),
        "labels": [],
        "totals": [],
        "asymmetry": [],
        "timings_s": {},
        "provenance": dict(provenance or {}),
    }


def sidecar_text(case: Mapping[str, Any]) -> str:
    """A case as its sidecar file: the case of the JSON document, with ``format_version``."""
    document = {"format_version": FORMAT_VERSION, **case}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """The case that a sidecar holds; None where there is none, or it is no sidecar of this format."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(document, dict) or document.pop("format_version", None) != FORMAT_VERSION:
        return None
    return document if isinstance(document.get("provenance"), dict) else None


def _as_text(where: Written) -> str | list[str] | dict[str, list[str]]:
    if isinstance(where, dict):
        return {name: [str(path) for path in paths] for name, paths in where.items()}
    return [str(path) for path in where] if isinstance(where, list) else str(where)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"verdict": verdict.status, "reasons": [reason.to_json() for reason in verdict.reasons]}
