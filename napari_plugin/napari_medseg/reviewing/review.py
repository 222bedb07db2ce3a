"""The review queue: cases of a cohort with their status, the most doubtful first. No Qt, no viewer.

Status lies in one small JSON file beside the cases (``review.json``; ``<list>.review.json`` for a list),
corrected cases in a training dataset beside it (``corrected/``, ``<list>.corrected/``:
`napari_medseg.reviewing.corrected_cases`). What a model wrote is never changed.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from medseg import UsageError, Volume
from medseg.io.files import write_text
from napari_medseg.recovery.provenance import provenance_path, read_json
from napari_medseg.reviewing import corrected_cases
from napari_medseg.reviewing.review_files import CaseFiles, find_cases
from napari_medseg.session import CorrectionSession

Status = Literal["to do", "in progress", "corrected", "accepted", "rejected"]
STATUSES: tuple[Status, ...] = get_args(Status)
FORMAT_VERSION = 1
_OPEN: tuple[Status, ...] = ("to do", "in progress")
_KEPT = ("session", "who", "saved", "active_seconds", "edits", "labels")  # of a provenance


@dataclass(frozen=True, slots=True)
class ReviewCase:
    """A case and what became of it.

    Parameters
    ----------
    files
        Where it lies and what its model said.
    status, who
        Who set the status last, as free text.
    corrected
        Its corrected labels, if there are any.
    sessions
        One entry for each session that was saved, oldest first: fields of its provenance.
    """

    files: CaseFiles
    status: Status
    who: str | None
    corrected: Path | None
    sessions: tuple[Mapping[str, Any], ...]

    @property
    def id(self) -> str:
        """The case's name."""
        return self.files.id

    @property
    def labels(self) -> Path | None:
        """What to open: the corrected labels, else the model's; None to begin with nothing."""
        return self.corrected or self.files.labels

    @property
    def active_seconds(self) -> float:
        """Time that was spent on it, over all sessions."""
        return float(sum(session["active_seconds"] for session in self.sessions))

    @property
    def changed(self) -> dict[str, tuple[int, int]]:
        """Voxels added and removed by a label's name, summed over sessions: work done, not a difference."""
        added: Counter[str] = Counter()
        removed: Counter[str] = Counter()
        for session in self.sessions:
            for label in session["labels"]:
                added[label["name"]] += label["added"]
                removed[label["name"]] += label["removed"]
        return {name: (added[name], removed[name]) for name in sorted({*added, *removed})}


class ReviewQueue:
    """The cases of a folder, a study or a list, worst first; those whose doubt nobody knows come last, by id.

    Two windows may work on one queue as long as they have different cases open.

    Parameters
    ----------
    path
        As `napari_medseg.reviewing.review_files.find_cases` understands it.
    scans
        One more folder to look for scans in.

    Raises
    ------
    NotFound, InputRefused
        As `find_cases`; ``bad-json`` for a status file that cannot be read.
    """

    def __init__(self, path: Path, scans: Path | None = None) -> None:
        self.path = Path(path)
        found = find_cases(self.path, scans)
        ordered = sorted(found, key=lambda case: (case.doubt is None, -(case.doubt or 0.0), case.id))
        self._files = {case.id: case for case in ordered}
        self._order = tuple(self._files)
        self._writing = threading.Lock()
        self._read()  # a damaged status file is named now, not after an hour's work

    @property
    def status_path(self) -> Path:
        """The status file."""
        return self.path.with_suffix(".review.json") if self.path.is_file() else self.path / "review.json"

    @property
    def dataset_path(self) -> Path:
        """The training dataset of corrected cases, for ``medseg train``; there once a case is corrected."""
        return self.path.with_suffix(".corrected") if self.path.is_file() else self.path / "corrected"

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[ReviewCase]:
        entries = self._read()
        return (self._case(case, entries) for case in self._order)

    def __getitem__(self, case_id: str) -> ReviewCase:
        if case_id not in self._files:
            raise KeyError(f"no case {case_id!r} in {self.path.name}")
        return self._case(case_id, self._read())

    def next(self, case_id: str | None = None, *, open_only: bool = False) -> ReviewCase | None:
        """The case behind another one, or the first; None at the end. ``open_only`` skips finished ones."""
        after = self._order if case_id is None else self._order[self._order.index(case_id) + 1 :]
        return self._first(after, open_only)

    def previous(self, case_id: str, *, open_only: bool = False) -> ReviewCase | None:
        """The case before another one; None at the start."""
        return self._first(self._order[: self._order.index(case_id)][::-1], open_only)

    def set_status(self, case_id: str, status: Status, *, who: str | None = None) -> ReviewCase:
        """Set a case's status. A rejected case leaves the training dataset; any other status brings it back.

        Raises
        ------
        UsageError
            No such status, or ``corrected`` for a case without corrected labels.
        """
        case = self[case_id]
        if status not in STATUSES:
            raise UsageError(f"status {status!r}: expected one of {', '.join(STATUSES)}")
        if status == "corrected" and case.corrected is None:
            raise UsageError(f"case {case_id!r} has no corrected labels yet: save them first")
        move = corrected_cases.set_aside if status == "rejected" else corrected_cases.bring_back
        if case.corrected is not None:
            move(self.dataset_path, case_id)
        self._write(case_id, {"status": status, "who": who or case.who})
        return self[case_id]

    def save_corrected(
        self, case_id: str, session: CorrectionSession, *, who: str | None = None, scan: Volume | None = None
    ) -> ReviewCase:
        """Save a session as the case's corrected labels: provenance, training dataset and status with them.

        Parameters
        ----------
        case_id, session
            The case, and the session that it was corrected in.
        who
            Free text.
        scan
            The scan as it was opened; see `corrected_cases.prepare`.

        Raises
        ------
        UsageError, WriteFailed
            As `corrected_cases.prepare` and `CorrectionSession.save`.
        """
        case = self[case_id]
        names = session.label_map().labels
        target = corrected_cases.prepare(self.dataset_path, case_id, case.files.images, names, scan)
        corrected_cases.bring_back(self.dataset_path, case_id)
        session.save(target, who=who, overwrite=True)
        provenance = read_json(provenance_path(target)) or {}
        saved = {key: provenance.get(key) for key in _KEPT}
        others = [one for one in case.sessions if one["session"] != saved["session"]]
        self._write(case_id, {"status": "corrected", "who": who or case.who, "sessions": [*others, saved]})
        return self[case_id]

    def _first(self, cases: tuple[str, ...], open_only: bool) -> ReviewCase | None:
        entries = self._read()
        found = (self._case(case, entries) for case in cases)
        return next((case for case in found if not open_only or case.status in _OPEN), None)

    def _case(self, case_id: str, entries: Mapping[str, Any]) -> ReviewCase:
        entry = entries.get(case_id, {})
        return ReviewCase(
            self._files[case_id],
            entry.get("status", "to do"),
            entry.get("who"),
            corrected_cases.existing_labels(self.dataset_path, case_id),
            tuple(entry.get("sessions", ())),
        )

    def _read(self) -> dict[str, Any]:
        entries = (read_json(self.status_path) or {}).get("cases", {})
        return dict(entries)

    def _write(self, case_id: str, values: Mapping[str, Any]) -> None:
        with self._writing:
            entries = self._read()  # again: another window may have written other cases
            entries[case_id] = {**entries.get(case_id, {}), **values}
            document = {"format_version": FORMAT_VERSION, "cases": dict(sorted(entries.items()))}
            write_text(self.status_path, json.dumps(document, indent=1, allow_nan=False) + "\n")
