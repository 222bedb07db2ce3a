"""The ledger: an SQLite file that says what became of each case. Only the run that holds the lock writes it.

A rollback journal, not a write-ahead log: that one needs shared memory, which network file systems do not
have. It is the one file of a study that holds paths.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from medseg.cohort.manifest.cases import Manifest, ManifestCase
from medseg.cohort.records import CaseResult, Entry, Row, State
from medseg.errors import InputRefused, NotFound, WriteFailed
from medseg.verdict import OK, Reason, Verdict

Columns = dict[str, list[Any]]

FORMAT_VERSION = 1
_WAIT_S = 60.0
_TABLES = (
    "CREATE TABLE study (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE cases (
        case_id TEXT PRIMARY KEY,
        position INTEGER NOT NULL,        -- in the manifest and every table; -1: no longer in the manifest
        images TEXT NOT NULL,             -- [[channel, path], ...]
        series TEXT,
        reference TEXT,
        columns TEXT NOT NULL,            -- groups and covariates
        state TEXT NOT NULL DEFAULT 'pending',
        verdict TEXT NOT NULL DEFAULT 'ok',
        reasons TEXT NOT NULL DEFAULT '[]',
        input_stamp TEXT,
        input_sha256 TEXT,
        output_stamp TEXT,
        identity TEXT,                    -- in made_with
        timings TEXT NOT NULL DEFAULT '{}'
    )""",
    "CREATE INDEX by_position ON cases (position)",
    "CREATE INDEX by_input ON cases (input_sha256)",
    # Models, options and versions that results were made with.
    "CREATE TABLE made_with (identity TEXT PRIMARY KEY, facts TEXT NOT NULL)",
    # Apart: they are long, and read last.
    "CREATE TABLE rows (case_id TEXT PRIMARY KEY, content BLOB NOT NULL)",
)
_UPSERT = """
INSERT INTO cases (case_id, position, images, series, reference, columns) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (case_id) DO UPDATE SET position = excluded.position, images = excluded.images,
    series = excluded.series, reference = excluded.reference, columns = excluded.columns
"""
_ENTRY = "case_id, images, series, state, verdict, reasons, input_sha256, input_stamp, output_stamp, identity"


class Ledger:
    """An open ledger.

    Parameters
    ----------
    path
        The file; made, with its tables, where it is missing and ``writing``.
    writing
        Whether to write; readers may look on while a run goes.

    Raises
    ------
    NotFound
        If there is no ledger to read.
    InputRefused
        ``not-a-ledger`` if the file is something else, or of another version of medseg.
    """

    def __init__(self, path: Path, *, writing: bool = False) -> None:
        if not writing and not path.is_file():
            raise NotFound(f"{path.parent}: no study is there: expected a folder with {path.name}")
        self._path = path
        mode = "rwc" if writing else "ro"
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=_WAIT_S
        )
        try:
            if writing:
                self._connection.execute("PRAGMA journal_mode = DELETE")
                self._connection.execute("PRAGMA synchronous = FULL")
                if not self._connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    with self._transaction():
                        for statement in _TABLES:
                            self._connection.execute(statement)
                        self._set("format_version", FORMAT_VERSION)
            version = self.get("format_version")
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                raise _full(path) from error
            raise InputRefused(
                f"{path}: is no ledger of a study, or is damaged: {error}", code="not-a-ledger", path=path
            ) from error
        if version != FORMAT_VERSION:
            self._connection.close()
            raise InputRefused(
                f"{path}: has format {version}, this medseg reads {FORMAT_VERSION}: run it with the medseg "
                "that made it",
                code="not-a-ledger",
                path=path,
            )

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    # What is written.

    def register(self, manifest: Manifest, facts: Mapping[str, Any], identity: str) -> None:
        """Take over the manifest's cases and facts about the run. Cases that it no longer has are set aside.

        A case's earlier result is kept. What an ended run left as running is pending. The facts are kept for
        every ``identity`` that cases were run with, so that each result can be told from what it was made.
        """
        digest = _digest(manifest)
        with self._transaction():
            for key, value in facts.items():
                self._set(key, value)
            self._connection.execute(
                "INSERT OR REPLACE INTO made_with VALUES (?, ?)", (identity, json.dumps(dict(facts)))
            )
            if self.get("manifest_sha256") != digest:
                self._set("tables", None)
                self._set("manifest_sha256", digest)
                self._set("columns", _kinds(manifest))
                self._connection.execute("UPDATE cases SET position = -1")
                self._connection.executemany(
                    _UPSERT, (_case_values(position, case) for position, case in enumerate(manifest.cases))
                )
            self._connection.execute("UPDATE cases SET state = 'pending' WHERE state = 'running'")
            self._date(identity)

    def set(self, key: str, value: Any) -> None:
        """Enter a fact about the study: a value of JSON."""
        with self._transaction():
            self._set(key, value)

    def mark(self, state: State, case_ids: Iterable[str]) -> None:
        """Set the state of cases that get or got no result; what there was of an earlier one is forgotten."""
        with self._transaction():
            self._mark(state, case_ids)

    def record(self, results: Iterable[CaseResult], identity: str, started: Iterable[str] = ()) -> None:
        """Enter results, and the cases that were started meanwhile, in one transaction."""
        with self._transaction():
            for result in results:
                if result.state == "unchanged":
                    self._connection.execute(
                        "UPDATE cases SET state = 'done', input_stamp = ? WHERE case_id = ?",
                        (result.input_stamp, result.case_id),
                    )
                else:
                    self._enter(result, identity)
            self._mark("running", started)

    def _date(self, identity: str) -> None:
        """Results of this identity are up to date, others are not: a study is of one model and options."""
        if self.get("identity") == identity:
            return
        self._set("identity", identity)
        self._set("tables", None)
        self._connection.execute(
            "UPDATE cases SET state = CASE WHEN identity = ? THEN 'done' ELSE 'outdated' END "
            "WHERE state IN ('done', 'outdated')",
            (identity,),
        )

    def _enter(self, result: CaseResult, identity: str) -> None:
        self._connection.execute(
            "UPDATE cases SET state = ?, verdict = ?, reasons = ?, input_stamp = ?, input_sha256 = ?, "
            "output_stamp = ?, identity = ?, timings = ? WHERE case_id = ?",
            (
                result.state,
                result.verdict.status,
                json.dumps([[reason.code, reason.message] for reason in result.verdict.reasons]),
                result.input_stamp,
                result.input_sha256,
                result.output_stamp,
                identity,
                json.dumps(dict(result.timings_s)),
                result.case_id,
            ),
        )
        self._connection.execute("DELETE FROM rows WHERE case_id = ?", (result.case_id,))
        if result.rows:
            text = json.dumps(_columns(result.rows), allow_nan=False)
            self._connection.execute(
                "INSERT INTO rows VALUES (?, ?)", (result.case_id, zlib.compress(text.encode(), 1))
            )

    def _mark(self, state: State, case_ids: Iterable[str]) -> None:
        self._connection.executemany(
            "UPDATE cases SET state = ?, output_stamp = NULL WHERE case_id = ?",
            ((state, case_id) for case_id in case_ids),
        )

    def _set(self, key: str, value: Any) -> None:
        self._connection.execute("INSERT OR REPLACE INTO study VALUES (?, ?)", (key, json.dumps(value)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                raise _full(self._path) from error
            raise

    # What is read.

    def get(self, key: str) -> Any:
        """A fact about the study, None where it is not told."""
        found = self._connection.execute("SELECT value FROM study WHERE key = ?", (key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def entries(self, state: State | None = None) -> Iterator[Entry]:
        """The manifest's cases in its order; those in one state, if it is given."""
        cursor = self._connection.execute(
            f"SELECT {_ENTRY} FROM cases WHERE position >= 0 AND state = ifnull(?, state) ORDER BY position",
            (state,),
        )
        return map(_entry, cursor)

    def manifest_values(self) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
        """Case id, reference, groups and covariates of the manifest's cases, in its order."""
        cursor = self._connection.execute(
            "SELECT case_id, reference, columns FROM cases WHERE position >= 0 ORDER BY position"
        )
        return ((case_id, reference, json.loads(columns)) for case_id, reference, columns in cursor)

    def rows(self) -> Iterator[tuple[str, Verdict, State, dict[str, Any], Columns]]:
        """Case id, verdict, state, groups and covariates, and rows by column, in the order of the manifest.

        The columns of a case are of one length, and there are none where it has no result.
        """
        cursor = self._connection.execute(
            "SELECT cases.case_id, verdict, reasons, state, columns, content FROM cases "
            "LEFT JOIN rows USING (case_id) WHERE position >= 0 ORDER BY position"
        )
        for case_id, status, reasons, state, columns, content in cursor:
            if state == "outdated":  # its numbers belong to another table
                yield case_id, OK, "pending", json.loads(columns), {}
                continue
            rows = {} if content is None or state != "done" else json.loads(zlib.decompress(content))
            yield case_id, _verdict(status, reasons), state, json.loads(columns), rows

    def counts(self) -> dict[State, int]:
        """How many of the manifest's cases are in each state; outdated ones are pending."""
        found = dict(
            self._connection.execute("SELECT state, count(*) FROM cases WHERE position >= 0 GROUP BY state")
        )
        states: tuple[State, ...] = ("pending", "running", "done", "failed")
        counts = {state: int(found.get(state, 0)) for state in states}
        counts["pending"] += int(found.get("outdated", 0))
        return counts

    def noteworthy(self) -> Iterator[Verdict]:
        """The verdicts of done cases that are warned of or repaired."""
        cursor = self._connection.execute(
            "SELECT verdict, reasons FROM cases WHERE position >= 0 AND state = 'done' AND verdict != 'ok'"
        )
        return (_verdict(status, reasons) for status, reasons in cursor)

    def same_input(self, input_sha256: str) -> list[tuple[str, str | None]]:
        """Done cases with an input of that hash, and its stamp, in the order of the manifest."""
        return list(
            self._connection.execute(
                "SELECT case_id, input_stamp FROM cases "
                "WHERE input_sha256 = ? AND state = 'done' AND position >= 0 ORDER BY position",
                (input_sha256,),
            )
        )


def _case_values(position: int, case: ManifestCase) -> tuple[Any, ...]:
    images = json.dumps([[channel, str(path)] for channel, path in case.images])
    reference = None if case.reference is None else str(case.reference)
    return case.case_id, position, images, case.series, reference, json.dumps(dict(case.columns))


def _columns(rows: Sequence[Row]) -> Columns:
    """Rows as columns, which are quicker to read by the thousand; what a row lacks is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _digest(manifest: Manifest) -> str:
    """A hash of all that the ledger takes over from a manifest."""
    digest = hashlib.sha256(repr(manifest.columns).encode())
    for position, case in enumerate(manifest.cases):
        digest.update(repr(_case_values(position, case)).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _kinds(manifest: Manifest) -> dict[str, str]:
    """Of each group and covariate, whether all its values are numbers."""
    kinds = {}
    for column in manifest.columns:
        values = [value for case in manifest.cases if (value := case.columns.get(column)) is not None]
        kinds[column] = "number" if values and all(isinstance(value, float) for value in values) else "text"
    return kinds


def _entry(row: tuple[Any, ...]) -> Entry:
    case_id, images, series, state, status, reasons, *rest = row
    paths = tuple((channel, Path(path)) for channel, path in json.loads(images))
    return Entry(case_id, paths, series, state, _verdict(status, reasons), *rest)


def _verdict(status: Any, reasons: str) -> Verdict:
    if status == "ok":
        return OK
    return Verdict(status, tuple(Reason(code, message) for code, message in json.loads(reasons)))


def _full(path: Path) -> WriteFailed:
    return WriteFailed(
        f"{path.parent.name}: the disk is full, so that results can no longer be entered: free some space "
        "and run the same command; it goes on where it stopped"
    )
