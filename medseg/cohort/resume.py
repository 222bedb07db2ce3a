"""What a run has to do for each case, by the ledger and by what lies on the disk. No scan is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from medseg.cohort.folder import StudyFolder
from medseg.cohort.records import PASSING, Entry
from medseg.cohort.stamps import stamp
from medseg.io.files import sha256_files
from medseg.measure import MEASURES_VERSION
from medseg.pipeline.options import InferOptions

Action = Literal["keep", "run", "refuse", "missing"]
DUPLICATE, OUTPUT_CHANGED = "duplicate-input", "output-changed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a case.

    Parameters
    ----------
    action
        ``"keep"`` what the ledger has; ``"run"`` it; ``"refuse"`` to overwrite a segmentation that somebody
        has changed; ``"missing"``: an input is not there.
    unless_sha256
        Of a case to run whose files look changed: its earlier hash. It is kept if that is still the same.
    """

    action: Action
    unless_sha256: str | None = None


def identity(model_sha256: str, options: InferOptions) -> str:
    """A hash of all that decides a result besides the input.

    How many threads compute is not part of it: it moves single voxels where two classes are all but equal,
    and a study keeps its number anyway.
    """
    chosen = {key: value for key, value in options.to_json().items() if key not in ("threads", "series")}
    document = {"model": model_sha256, "options": chosen, "measures": MEASURES_VERSION}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def output_stamp(folder: StudyFolder, case_id: str) -> str | None:
    """Of a case's segmentation and sidecar as they lie there; None where one of them is missing."""
    paths = folder.written(case_id)
    found = stamp(paths)
    return None if found is None else f"{found} {sha256_files(paths[:1])}"


def decide(
    entry: Entry,
    folder: StudyFolder,
    wanted: str,
    *,
    is_duplicate: Callable[[Entry], bool],
    check_contents: bool = False,
    overwrite: bool = False,
) -> Decision:
    """What to do with one case.

    Parameters
    ----------
    wanted
        The run's `identity`.
    is_duplicate
        Whether a done case of the same input stands before this one.
    check_contents
        Compare contents where size and time of change say that an input is as it was.
    overwrite
        Run it in any case.
    """
    now = stamp(path for _, path in entry.images)
    outputs = _outputs(entry, folder)
    if entry.state in ("done", "outdated") and outputs != "missing" and not overwrite:
        if now is None:
            return Decision("keep")  # the scan was put away since: its result stands, if an outdated one
        same = entry.identity == wanted
        if same and now == entry.input_stamp and not check_contents:
            return Decision("keep")
        if outputs == "changed":
            return Decision("refuse")
        return Decision("run", entry.input_sha256 if same else None)
    if OUTPUT_CHANGED in entry.verdict.codes and outputs == "changed" and not overwrite:
        return Decision("refuse")
    if now is None:
        return Decision("missing")
    if entry.state != "failed" or overwrite or check_contents:
        return Decision("run")
    return Decision("keep" if _stands(entry, now, wanted, is_duplicate) else "run")


def _stands(entry: Entry, now: str, wanted: str, is_duplicate: Callable[[Entry], bool]) -> bool:
    """Whether a failure would come again."""
    codes = set(entry.verdict.codes)
    if codes & PASSING or OUTPUT_CHANGED in codes:  # a changed output has been moved away
        return False
    if entry.identity != wanted or entry.input_stamp != now:
        return False
    return DUPLICATE not in codes or is_duplicate(entry)


def _outputs(entry: Entry, folder: StudyFolder) -> Literal["as written", "changed", "missing"]:
    if entry.output_stamp is None:
        return "missing"
    paths = folder.written(entry.case_id)
    stamped, _, digest = entry.output_stamp.partition(" ")
    now = stamp(paths)
    if now is None:
        return "missing"
    if now == stamped:
        return "as written"
    # A study that was copied elsewhere has new times, and the same files.
    return "as written" if sha256_files(paths[:1]) == digest else "changed"
