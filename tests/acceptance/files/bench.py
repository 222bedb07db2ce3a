"""The bench of `fuzz_files`: lays a damaged file down, has it read and judged, keeps count."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.files.seeds import Seed
from tests.acceptance.files.watched import Died, Overran, Swelled, Watched

LIMIT_S = 5.0
MEMORY_LIMIT = 1 << 30
_START_S = 120.0  # imports, on a busy machine
_ORACLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """One damaged file, to be laid beside the whole ones of its seed."""

    number: int
    seed: Seed
    changed: dict[str, bytes]
    damage: str


@dataclass(slots=True)
class Tally:
    """Numbers of one format."""

    cases: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    peak: int = 0
    retried: int = 0
    whole_failed: set[str] = field(default_factory=set)


class Bench:
    """A worker that reads, a worker that judges, and a folder for the case in hand."""

    def __init__(self, folder: Path, tally: Tally, keep: Path | None, lock: threading.Lock) -> None:
        self.folder, self.tally, self.keep, self.lock = folder, tally, keep, lock
        self.subject = Watched("tests.acceptance.files.subject", folder / "subject", MEMORY_LIMIT)
        self.oracle = Watched("tests.acceptance.files.oracle", folder / "oracle", 8 * MEMORY_LIMIT)
        self.results = folder / "results"
        self.results.mkdir()
        self._baselines: dict[str, str | None] = {}

    def close(self) -> None:
        self.subject.close()
        self.oracle.close()

    def run(self, case: Case) -> None:
        """One case, from files to tally."""
        original = self._baseline(case.seed)
        place = self.folder / "case"
        case.seed.write(place, case.changed)
        answer, failure = self._read(case, place)
        outcome = ""
        if answer is not None:
            failure, outcome = self._judge(case, place, answer, original)
        self._count(case, place, answer, failure, outcome)
        shutil.rmtree(place)

    def _baseline(self, seed: Seed) -> str | None:
        """What medseg reads from the whole file, once; None where it refuses that too."""
        if seed.name not in self._baselines:
            place = self.folder / "whole"
            seed.write(place)
            result = str(self.results / f"whole{len(self._baselines)}")
            answer = self.subject.ask(_question(seed, place, result), _START_S)
            accepted = answer["outcome"] == "accepted"
            self._baselines[seed.name] = result if accepted else None
            failure = f"whole file: {answer['outcome']}"
            if accepted:
                judged = self.oracle.ask(_oracle_question(seed, place, result, None), _ORACLE_S)
                failure = "" if judged["judgement"] == "equal" else "whole file: other voxels"
                answer |= judged
            if failure and seed.name not in self.tally.whole_failed:
                self.tally.whole_failed.add(seed.name)
                case = Case(0, seed, {}, "none")
                self._count(case, place, answer, failure, "", is_case=False)
            shutil.rmtree(place)
        return self._baselines[seed.name]

    def _read(self, case: Case, place: Path) -> tuple[dict[str, Any] | None, str]:
        question = _question(case.seed, place, str(self.results / "now"))
        fresh = self.subject.restarts < 0
        try:
            return self.subject.ask(question, _START_S if fresh else LIMIT_S), ""
        except Died as death:
            return None, f"crash ({death})"
        except Swelled as swelled:
            self.tally.peak = max(self.tally.peak, self.subject.peak)
            return None, f"memory ({swelled})"
        except Overran:
            self.tally.retried += 1
        # A machine that is busy elsewhere may stall any process: only a second time counts.
        try:
            self._warm_up(case.seed)
            return self.subject.ask(question, LIMIT_S), ""
        except (Overran, Died, Swelled) as again:
            return None, f"hang ({type(again).__name__} when repeated)"

    def _warm_up(self, seed: Seed) -> None:
        place = self.folder / "whole"
        seed.write(place)
        self.subject.ask(_question(seed, place, str(self.results / "warm")), _START_S)
        shutil.rmtree(place)

    def _judge(
        self, case: Case, place: Path, answer: dict[str, Any], original: str | None
    ) -> tuple[str, str]:
        """(failure or "", what became of an accepted file)."""
        if answer["leak"]:
            return "leak", ""
        if answer["outcome"] == "foreign":
            return f"foreign {answer['code']}", ""
        if answer["litter"]:
            shutil.rmtree(self.subject.scratch)
            self.subject.scratch.mkdir()
            return "litter", ""
        if answer["heard"]:
            return "warning or log", ""
        if answer["outcome"] == "refused":
            return ("", "") if answer["message"] else ("no message", "")
        question = _oracle_question(case.seed, place, str(self.results / "now"), original)
        try:
            answer |= self.oracle.ask(question, _ORACLE_S)
        except (Died, Overran, Swelled) as end:
            question["family"] = "none"  # no library: compare with the voxels from before
            answer |= self.oracle.ask(question, _START_S)
            answer["by"] += f" (the oracle: {type(end).__name__})"
        if answer["judgement"] == "other":
            return "accepted with other voxels", ""
        if answer["judgement"] == "original":
            return "", "as before; others refuse"
        return "", "same as another library"

    def _count(
        self,
        case: Case,
        place: Path,
        answer: dict[str, Any] | None,
        failure: str,
        outcome: str,
        *,
        is_case: bool = True,
    ) -> None:
        with self.lock:
            tally = self.tally
            tally.cases += is_case
            tally.peak = max(tally.peak, self.subject.peak)
            if failure:
                tally.failures[failure.partition(" (")[0]] += 1
                self._report(case, place, answer, failure)
            elif answer is not None and answer["outcome"] == "refused":
                tally.refused[answer["code"]] += 1
            else:
                tally.accepted[outcome] += 1
            if answer is not None and is_case:
                tally.slowest_s = max(tally.slowest_s, answer["seconds"])

    def _report(self, case: Case, place: Path, answer: dict[str, Any] | None, failure: str) -> None:
        words = answer or {}
        detail = words.get("by") or words.get("message") or ""
        which = f"{case.seed.family} '{case.seed.name}' case {case.number} {case.damage}"
        print(f"FAILURE {failure}: {which}: {detail}", flush=True)
        if self.keep is not None:
            kept = self.keep / f"{case.seed.family}-{case.number}-{failure.split(' (')[0].replace(' ', '_')}"
            shutil.copytree(place, kept, dirs_exist_ok=True)
            facts = {"target": case.seed.target, "verb": case.seed.verb, "options": case.seed.options}
            facts |= {"seed": case.seed.name, "damage": case.damage, "failure": failure, **words}
            (kept / "case.json").write_text(json.dumps(facts, indent=1))


def _question(seed: Seed, place: Path, result: str) -> dict[str, Any]:
    options = dict(seed.options)
    if "scan" in options:
        options["scan"] = str(place / options["scan"])
    path = str(place / seed.target) if seed.target else str(place)
    return {"path": path, "verb": seed.verb, "options": options, "result": result}


def _oracle_question(seed: Seed, place: Path, result: str, original: str | None) -> dict[str, Any]:
    return _question(seed, place, result) | {"family": seed.family, "original": original}
