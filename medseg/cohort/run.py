"""run_cohort: a manifest, a model, a folder; what is missing there is done, what is there is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.cohort.coordinator import Coordinator
from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.cohort.lock import StudyLock
from medseg.cohort.manifest import Manifest, read_manifest
from medseg.cohort.records import WorkerSetup
from medseg.cohort.resume import identity
from medseg.cohort.study import Study, open_study
from medseg.cohort.table import TABLES_VERSION, write_tables
from medseg.cohort.work import find_work
from medseg.cohort.workers import open_executor
from medseg.cohort.workers.case_worker import model_hash, remove_outputs
from medseg.cohort.workers.sharing import share_computer
from medseg.errors import UsageError
from medseg.models import ModelBundle
from medseg.pipeline.models import ModelChooser
from medseg.pipeline.options import InferOptions, Progress, memory_bytes


def run_cohort(
    manifest: str | Path | Manifest,
    model: str | Path | Sequence[str | Path] | None = None,
    out: str | Path = "study",
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    allow: Sequence[str] = (),
    strict: bool = False,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "f32",
    overlap: float | None = None,
    tta: bool = False,
    skip_empty: bool = True,
    threads: int | None = None,
    max_memory: int | str | None = None,
    sums: str = "auto",
    scratch: str | Path | None = None,
    pictures: bool = True,
    check_contents: bool = False,
    overwrite: bool = False,
    bids: str | Sequence[str] = (),
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Study:
    """Segment and measure every case of a manifest, or what is still missing of it.

    A case that is refused or fails does not stop the others. Called again with the same folder, exactly that
    is done which is missing, which failed for a reason that may have passed, or whose input, model or options
    have changed.

    Parameters
    ----------
    manifest
        What `read_manifest` takes: a CSV, Parquet or JSON file, a folder of images, a BIDS dataset, or a tree
        of DICOM studies; or a `Manifest`.
    model
        A built-in model's name or a bundle's path; several are an ensemble. None takes ``MEDSEG_MODEL`` or
        the user's default.
    out
        The study's folder, made where it is missing.
    scheduler
        Address of a Dask scheduler, ``tcp://host:8786``, whose workers see the same paths. None runs on this
        computer.
    workers
        Start so many Dask workers on this computer instead. None takes up to four processes, without Dask,
        between which the processors are shared: one where a GPU computes, or where ``max_memory`` is given.
    allow, strict, backend, device, precision, overlap, tta, skip_empty, threads, max_memory, sums, scratch
        See `medseg.infer`; for each worker. A cohort's numbers must not depend on who computes them:
        precision is float32 unless told, and threads are as many as a process of the study's first run
        had, for every worker and every later run (sums round differently with each number of threads).
    pictures
        Make an overlay of each case, for the report.
    check_contents
        Read every input again to see whether it has changed, also where size and time of change say no.
    overwrite
        Do every case again, also where somebody has changed its segmentation.
    bids
        Which images of a BIDS dataset: ``"T1w"``, ``"acq-high_T1w"``, or one for each channel; see
        `read_manifest`.
    progress
        Called in the calling thread as ``progress("cases", done, total)``, and without Dask also with the
        stages of the case under way, as `medseg.segment` has them; an exception from it cancels.
    tell
        Called with sentences that a person should hear before cases are run: what is odd about the manifest,
        how many finished cases are done again because model or options have changed.

    Returns
    -------
    Study
        Also where cases failed: see `Study.failures`.

    Raises
    ------
    UsageError, NotFound, MissingExtra, PlanInvalid
        If the call or the manifest is wrong, or another run has the study; nothing was run then.
    ModelRefused
        If the model is broken.
    WriteFailed
        If the disk is full; what came before is kept.
    """
    options = InferOptions(
        backend=backend,
        device=device,
        precision=precision,
        threads=threads,
        overlap=overlap,
        tta=tta,
        skip_empty=skip_empty,
        allow=tuple(allow),
        strict=strict,
        max_memory=memory_bytes(max_memory),
        sums=sums,
        scratch=scratch,
    )
    cases = (
        manifest if isinstance(manifest, Manifest) else read_manifest(manifest, bids=bids, progress=progress)
    )
    chooser = ModelChooser(_names(model), options)
    if not chooser.named_bundles:
        raise UsageError(
            "a cohort needs one model for all its cases: name it, e.g. -m brain, or set MEDSEG_MODEL"
        )
    _check_channels(cases, chooser.named_bundles)
    folder = _make(StudyFolder(Path(out)))
    wanted = identity(model_hash(chooser), options)
    with StudyLock(folder.lock) as lock, Ledger(folder.ledger, writing=True) as ledger:
        processes, each = share_computer(
            chooser.named_bundles, options, len(cases.cases), threads or ledger.get("threads")
        )
        options = replace(options, threads=each)
        setup = WorkerSetup(
            folder.path.resolve(), _places(chooser, model), model_hash(chooser), options, pictures
        )
        ledger.register(cases, _facts(setup, chooser, cases), wanted)
        work = find_work(ledger, folder, wanted, check_contents=check_contents, overwrite=overwrite)
        if work.tasks or work.settled:
            ledger.set("tables", None)  # until they are made again
            ledger.record(work.settled, wanted)
        for result in work.gone:
            remove_outputs(folder, result)
        if work.again or work.stuck:
            folder.remove_tables()  # of another model or other options
        for note in (*(reason.message for reason in cases.verdict.reasons), *work.notes):
            (tell or _say_nothing)(note)
        _report(progress, work.kept, len(cases.cases))
        if work.tasks:
            with closing(open_executor(setup, scheduler, workers, processes, progress)) as executor:
                Coordinator(
                    ledger,
                    lock,
                    folder,
                    executor,
                    wanted,
                    {case.case_id: position for position, case in enumerate(cases.cases)},
                    lambda finished: _report(progress, work.kept + finished, len(cases.cases)),
                ).run(work.tasks)
        if ledger.get("tables") != TABLES_VERSION or not folder.has_tables:
            write_tables(ledger, folder)
            ledger.set("tables", TABLES_VERSION)
    return open_study(folder.path)


def _names(model: Any) -> Any:
    return model[0] if isinstance(model, list | tuple) and len(model) == 1 else model


def _places(chooser: ModelChooser, model: Any) -> tuple[str, ...]:
    """Where workers find the models: names as they are, paths in full."""
    if model is None:
        return tuple(_place(bundle) for bundle in chooser.named_bundles)
    given = model if isinstance(model, list | tuple) else [model]
    return tuple(str(Path(one).resolve()) if Path(one).exists() else str(one) for one in given)


def _place(bundle: ModelBundle) -> str:
    return str(bundle.path)


def _check_channels(manifest: Manifest, bundles: Sequence[ModelBundle]) -> None:
    wanted = sorted(channel.name for channel in bundles[0].plan.channels)
    for case in manifest.cases:
        names = sorted(name for name, _ in case.images if name)
        if (names and names != wanted) or (not names and len(wanted) > 1):
            raise UsageError(
                f"the manifest gives {_columns(names)}; model {bundles[0].name!r} needs "
                f"{_columns(wanted) if len(wanted) > 1 else 'one column, image'}"
            )


def _columns(channels: Sequence[str]) -> str:
    return "columns " + ", ".join(f"image_{name}" for name in channels) if channels else "one column, image"


def _make(folder: StudyFolder) -> StudyFolder:
    if not folder.ledger.exists() and folder.segmentations.is_dir() and any(folder.segmentations.iterdir()):
        raise UsageError(
            f"{folder.path}: holds segmentations but no {folder.ledger.name}, which knows what they are: "
            "choose another -o, or move them away"
        )
    try:
        folder.segmentations.mkdir(parents=True, exist_ok=True)
        folder.pictures.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder.path}: no study's folder can be made there ({error.strerror}): choose another -o"
        ) from error
    return folder


def _facts(setup: WorkerSetup, chooser: ModelChooser, manifest: Manifest) -> dict[str, Any]:
    """What the report and the methods paragraph say about the run."""
    bundles = chooser.named_bundles
    return {
        "medseg": __version__,
        "model": "+".join(bundle.name for bundle in bundles),
        "model_sha256": setup.model_sha256,
        "labels": {str(label.id): label.name for label in bundles[0].label_set},
        "channels": [channel.name for channel in bundles[0].plan.channels],
        "options": setup.options.to_json(),
        "threads": setup.options.threads,
        "warnings": [reason.to_json() for reason in manifest.verdict.reasons],
        "last_run": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _say_nothing(note: str) -> None: ...


def _report(progress: Callable[[str, int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress("cases", done, total)
