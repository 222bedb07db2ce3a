"""What a run has to do: the cases for workers, and those of which it is known already how they end."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.cohort.records import CaseResult, CaseTask, Entry
from medseg.cohort.resume import OUTPUT_CHANGED, decide
from medseg.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Work:
    """What a run does: cases for workers, results that need none, ids whose outputs stand for nothing.

    ``kept`` counts the cases that are finished before it begins, ``again`` those tasks that were done with
    another model or other options, and ``stuck`` those of them whose scans are not there any more.
    """

    tasks: tuple[CaseTask, ...]
    settled: tuple[CaseResult, ...]
    gone: tuple[str, ...]
    kept: int
    again: int
    stuck: int

    @property
    def notes(self) -> list[str]:
        """What a person should hear before it begins."""
        notes = []
        if self.again:
            notes.append(
                f"{_cases(self.again)} done before with another model or other options: done again, and the "
                "tables are made anew at the end"
            )
        if self.stuck:
            notes.append(
                f"{_cases(self.stuck)} done before with another model or other options cannot be done again, "
                "as the scans are not there any more: pending until they are, or the old options come back"
            )
        if not self.tasks and not self.stuck:
            notes.append("nothing to do: every case is finished")
        return notes


def find_work(
    ledger: Ledger, folder: StudyFolder, wanted: str, *, check_contents: bool, overwrite: bool
) -> Work:
    """What is to be done in a study whose results are to be of the identity ``wanted``: `resume.decide`."""
    tasks, settled, gone = [], [], []
    kept, again, stuck = 0, 0, 0
    before: set[str] = set()  # hashes of the inputs of done cases so far, in the order of the manifest

    def is_duplicate(entry: Entry) -> bool:
        return entry.input_sha256 in before

    for entry in ledger.entries():
        decision = decide(
            entry,
            folder,
            wanted,
            is_duplicate=is_duplicate,
            check_contents=check_contents,
            overwrite=overwrite,
        )
        if decision.action == "run":
            tasks.append(CaseTask(entry.case_id, entry.images, entry.series, decision.unless_sha256))
            again += entry.state == "outdated"
        elif decision.action == "keep" and entry.state == "outdated":
            stuck += 1
        elif decision.action == "keep":
            kept += 1
        else:
            settled.append(_unrun(entry, decision.action))
            kept += 1
        if decision.action == "missing" or (entry.state == "failed" and decision.action == "keep"):
            gone.append(entry.case_id)
        if entry.state == "done" and entry.input_sha256 is not None:
            before.add(entry.input_sha256)
    return Work(tuple(tasks), tuple(settled), tuple(gone), kept, again, stuck)


def _unrun(entry: Entry, action: str) -> CaseResult:
    """The failure of a case that no worker needs to see."""
    if action == "missing":
        channels = ", ".join(channel for channel, path in entry.images if channel and not path.exists())
        which = f"the file of channel {channels}" if channels else "its file"
        verdict = Verdict.of("failed", "missing-file", f"{which} is not there; the ledger has the path")
        return CaseResult(entry.case_id, "failed", verdict)
    text = (
        "somebody has changed its segmentation since it was made, and input, model or options have changed "
        "too: move the segmentation away to keep it, or use --overwrite to replace it"
    )
    return CaseResult(
        entry.case_id,
        "failed",
        Verdict.of("failed", OUTPUT_CHANGED, text),
        entry.input_sha256,
        entry.input_stamp,
        entry.output_stamp,
    )


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"
