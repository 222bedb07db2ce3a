"""What passes between the rooms of a cohort: a task for a worker, its result, and the ledger's entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medseg.pipeline.options import InferOptions
from medseg.verdict import OK, Verdict

# "outdated": done, but with another model or other options than the study's last run; to be done again.
State = Literal["pending", "running", "done", "failed", "outdated"]
Row = Mapping[str, Any]

# What may have passed when the study is run again: such failures are tried anew, others only if the case's
# input, the model or the options have changed.
PASSING = frozenset(
    {"worker-died", "write-failed", "out-of-memory", "missing-file", "read-failed", "unexpected-error"}
)


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What every case of a run shares.

    Parameters
    ----------
    study
        The study's folder, as the worker sees it.
    models
        Names or paths of the model, or of an ensemble's.
    model_sha256
        What they must hash to: the coordinator's models.
    options
        How to segment.
    pictures
        Whether to make an overlay of each case.
    """

    study: Path
    models: tuple[str, ...]
    model_sha256: str
    options: InferOptions
    pictures: bool = True


@dataclass(frozen=True, slots=True)
class CaseTask:
    """One case for a worker. Where its input still hashes to ``unless_sha256``, there is nothing to do."""

    case_id: str
    images: tuple[tuple[str, Path], ...]
    series: str | None = None
    unless_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What a worker made of a case.

    Parameters
    ----------
    state
        ``"done"``, ``"failed"``, or ``"unchanged"``: the input is what ``unless_sha256`` says.
    verdict
        Of scan and result; messages name the case, never a path.
    input_sha256, input_stamp
        Of what was read; None where nothing could be.
    output_stamp
        Of the files that were written.
    rows
        The case's part of the table, without what the manifest says.
    timings_s
        Seconds per stage.
    """

    case_id: str
    state: Literal["done", "failed", "unchanged"]
    verdict: Verdict = OK
    input_sha256: str | None = None
    input_stamp: str | None = None
    output_stamp: str | None = None
    rows: tuple[Row, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LostCase:
    """A case whose worker died before it gave a result."""

    case_id: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of a case, apart from its rows.

    ``identity`` is what decides the result besides the input: see `resume.identity`.
    """

    case_id: str
    images: tuple[tuple[str, Path], ...]
    series: str | None
    state: State
    verdict: Verdict
    input_sha256: str | None
    input_stamp: str | None
    output_stamp: str | None
    identity: str | None
