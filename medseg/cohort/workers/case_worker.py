"""A worker: models loaded once, then case after case; the next may be read and the last written meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Lock, Semaphore
from typing import Any

from medseg.cohort.folder import StudyFolder
from medseg.cohort.privacy import names_of, private, where_raised
from medseg.cohort.records import CaseResult, CaseTask, WorkerSetup
from medseg.cohort.resume import output_stamp
from medseg.cohort.rows import case_rows
from medseg.cohort.stamps import stamp
from medseg.errors import ModelRefused
from medseg.io.files import write_bytes
from medseg.pipeline.cases import Case
from medseg.pipeline.ensemble import joint_hash
from medseg.pipeline.models import ModelChooser
from medseg.pipeline.options import Progress
from medseg.pipeline.segmentation import Scan
from medseg.pipeline.steps import Finished, Job, Steps
from medseg.verdict import Reason, Verdict
from medseg.volume import LabelMap, Volume

# Scans in memory at a time: one that is read ahead, one that is computed, one that is written.
_SCANS = 3


class CaseWorker:
    """Takes cases through reading, computing and writing; threads may call it at the same time.

    Parameters
    ----------
    setup
        What all cases share.
    progress
        Called as ``progress(stage, done, total)`` in the thread that computes a case; of one case at a time.

    Raises
    ------
    ModelRefused
        If the models are not those that the coordinator has, as where another folder is mounted there.
    """

    def __init__(self, setup: WorkerSetup, progress: Progress | None = None) -> None:
        self._setup = setup
        self._progress = progress
        self._folder = StudyFolder(setup.study)
        models = setup.models[0] if len(setup.models) == 1 else setup.models
        self._chooser = ModelChooser(models, setup.options)
        found = model_hash(self._chooser)
        if found != setup.model_sha256:
            raise ModelRefused(
                f"model {', '.join(setup.models)}: a worker found another one under that name (SHA-256 "
                f"{found[:12]}..., expected {setup.model_sha256[:12]}...): give every worker the same model"
            )
        self._one_computes = Lock()
        self._room = Semaphore(_SCANS)

    def run(self, task: CaseTask) -> CaseResult:
        """One case from its files to its rows. What is wrong with it is told in the result, never raised."""
        paths = [path for _, path in task.images]
        before = stamp(paths)
        try:
            with self._room:
                result = self._run(task)
        except ModelRefused:
            raise  # no case's fault, and no other case will fare better
        except Exception as error:  # noqa: BLE001 - one broken case must not end the study; it is named
            result = CaseResult(task.case_id, "failed", _unforeseen(error))
        return replace(result, verdict=_private(result.verdict, task), input_stamp=before)

    def _run(self, task: CaseTask) -> CaseResult:
        options = replace(self._setup.options, series=task.series) if task.series else self._setup.options
        job = Job(Case(task.images, task.case_id), self._folder.outputs(task.case_id))
        steps = Steps(
            self._chooser,
            options,
            preview=False,
            masks=False,
            inputs=frozenset(),
            overwrite=True,
            lone=False,
            progress=self._progress,
        )
        scan = steps.read(job)
        sha256 = scan.input_hash if isinstance(scan, Scan) else None
        if sha256 is not None and sha256 == task.unless_sha256:
            return CaseResult(task.case_id, "unchanged", input_sha256=sha256)
        with self._one_computes:
            finished = steps.compute(job, scan)
        if not isinstance(finished, Finished):
            return CaseResult(task.case_id, "failed", _verdict(finished), sha256)
        assert isinstance(scan, Scan)  # else there was nothing to compute
        result = replace(finished.result, verdict=_private(finished.result.verdict, task))
        document = steps.write(job, replace(finished, result=result))
        if not document["segmentation"]:
            return CaseResult(task.case_id, "failed", _verdict(document), sha256)
        if self._setup.pictures:
            self._draw(task.case_id, scan.volume, result.labels)
        return CaseResult(
            task.case_id,
            "done",
            result.verdict,
            sha256,
            output_stamp=output_stamp(self._folder, task.case_id),
            rows=case_rows(result, scan.volume, [channel.name for channel in scan.bundles[0].plan.channels]),
            timings_s=document["timings_s"],
        )

    def _draw(self, case_id: str, volume: Volume, labels: LabelMap) -> None:
        from medseg.report.thumbnails import case_picture  # only where pictures are wanted

        write_bytes(self._folder.picture(case_id), case_picture(volume, labels))


def model_hash(chooser: ModelChooser) -> str:
    """The hash of the named models together, as a sidecar has it."""
    return joint_hash(chooser.named_bundles)


def remove_outputs(folder: StudyFolder, case_id: str) -> None:
    """Take away what an earlier run wrote for a case that has no result any more."""
    outputs = folder.outputs(case_id)
    files: tuple[Path, ...] = (outputs.sidecar, *outputs.segmentations, folder.picture(case_id))
    for path in files:
        path.unlink(missing_ok=True)


def _private(verdict: Verdict, task: CaseTask) -> Verdict:
    if not verdict.reasons:
        return verdict  # the usual case, and there may be thousands of files to ask
    return private(verdict, names_of(path for _, path in task.images), task.case_id)


def _unforeseen(error: Exception) -> Verdict:
    """What ended a case without being foreseen, told without the error's own words."""
    if isinstance(error, MemoryError):
        code = "out-of-memory"
    else:
        code = "read-failed" if isinstance(error, OSError) else "unexpected-error"
    return Verdict.of("failed", code, f"{where_raised(error)}; it is tried again when the study is run again")


def _verdict(document: dict[str, Any]) -> Verdict:
    reasons = tuple(Reason(reason["code"], reason["message"]) for reason in document["reasons"])
    return Verdict(document["verdict"], reasons)
