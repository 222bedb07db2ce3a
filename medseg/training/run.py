"""medseg.train: from a dataset on disk to a model bundle."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from medseg.datasets import read_dataset
from medseg.errors import UsageError
from medseg.inference.windows import window_starts
from medseg.models import ModelBundle
from medseg.networks import build_network, load_tensors
from medseg.plans import Plan
from medseg.preprocess import WORLD_AXES
from medseg.training.cache import build_cache, made_cases
from medseg.training.checkpoints import BEST, LAST, load_checkpoint
from medseg.training.decision import decide_plan, hold_back_every, read_layers
from medseg.training.devices import Device, choose_device
from medseg.training.export import TrainingFacts, export_bundle, half_precision, score_all
from medseg.training.fit import FitSettings, OnStatus, Status, evaluating, fit, forward_of
from medseg.training.pace import fit_to_time, remark_on
from medseg.training.pictures import draw_pictures
from medseg.training.postprocessing import with_steps_for
from medseg.training.run_folder import (
    lost_postprocess,
    minutes_spent,
    refuse_other_cases,
    refuse_used,
    resumed_plan,
    steps_made,
    write_run,
)
from medseg.training.splits import Fold, Split, split
from medseg.training.validation import CaseScore
from medseg.training.validation_report import REPORT, ValidationReport, report_seconds

Progress = Callable[[str, int, int], None]
_EXPORT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run made: folder, plan, bundle, and Dice per case (``validation``, ``held_back``).

    ``remarks`` are what the user should know: what was made smaller for the time, or that steps were few.
    """

    run: Path
    plan: Plan
    bundle: ModelBundle
    scores: dict[str, list[CaseScore]]
    remarks: tuple[str, ...] = ()


def train(
    dataset: Path | str,
    out: Path | str,
    *,
    config: str | Path | None = None,
    fold: Fold = 0,
    max_minutes: float | None = None,
    resume: bool = False,
    overrides: Sequence[str] = (),
    device: str = "auto",
    devices: int = 1,
    progress: Progress | None = None,
    on_status: OnStatus | None = None,
) -> TrainResult:
    """Plan, preprocess, train, validate on whole scans, and write a bundle to ``out/bundle``.

    Parameters
    ----------
    dataset, config, overrides, device
        As in `plan`.
    out
        Folder of the run. It must not hold a run yet, unless ``resume``.
    fold
        0 to 4: that fifth validates. ``"all"``: every case trains and nothing validates.
    max_minutes
        For the whole call. The learning rate reaches zero when the time is up. On a CPU, network and batch
        are made smaller for little time, unless ``config`` or ``overrides`` give them (`fit_to_time`).
    resume
        Go on from the last checkpoint, exactly where there is no time limit; a run that has not
        begun is begun.
    devices
        Processes to train with (DDP): so many GPUs, or CPU processes.
    progress
        Called as ``progress(stage, done, total)``.
    on_status
        Called with a `medseg.training.Status` after every step; one process only.

    Raises
    ------
    UsageError
        If the run exists and ``resume`` was not asked for, or what is asked contradicts the run.
    """
    started = time.monotonic()
    found = read_dataset(dataset)
    run, target = Path(out), choose_device(device)
    _check_call(target, devices, max_minutes)
    layers = read_layers(config, overrides)
    the_plan = resumed_plan(run, layers, fold) if resume else None
    every = hold_back_every(layers) if the_plan is None else the_plan.hold_back_every
    parts = split(found.cases, fold, every)
    remarks: list[str] = []
    if the_plan is None:
        refuse_used(run)
        the_plan = decide_plan(found, layers, target, progress)
        if max_minutes is not None and devices == 1:
            left = max_minutes * 60 - (time.monotonic() - started) - _EXPORT_SECONDS
            pace = fit_to_time(the_plan, layers, target, left)
            if pace is not None and pace.plan != the_plan:
                the_plan = pace.plan
                remarks.append(pace.remark)
                if progress is not None:
                    progress(pace.remark, 1, 1)
    else:
        refuse_other_cases(run, parts)
    # What cannot be computed or built is refused before the folder is taken.
    precision = target.precision(the_plan.precision)
    build_network(the_plan)
    write_run(run, the_plan, parts, fold, found.name)
    used = (*parts.training, *parts.validation)
    build_cache(used, the_plan, run / "cache", progress)

    seconds = None
    if max_minutes is not None:
        reserve = _EXPORT_SECONDS + _scoring_seconds(the_plan, target, parts)
        reserve += report_seconds(the_plan, len(parts.validation or parts.held_back))
        seconds = max_minutes * 60 - (time.monotonic() - started) - reserve
        if seconds <= 0 and not (run / "checkpoints" / LAST).is_file():
            raise UsageError(
                f"{run}: preparing took {time.monotonic() - started:.0f} s, scoring and exporting need about "
                f"{reserve:.0f} s, so {max_minutes:g} minutes leave no time to train: "
                f"go on with --resume and more --max-minutes"
            )
    settings = FitSettings(run, seconds, resume)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision
    fabric = Fabric(
        accelerator=target.kind,
        devices=devices if target.index is None or devices > 1 else [target.index],
        strategy=_strategy(the_plan) if devices > 1 else "auto",
        precision=precision.fabric,
    )
    relay = _relay(progress, on_status, spawned=devices > 1)
    # A partial, not arguments: fabric's launcher takes arguments apart and stumbles over frozen dataclasses.
    work = partial(
        _fit_in_process,
        the_plan=the_plan,
        parts=parts,
        settings=settings,
        on_status=relay,
        launched=time.time(),
        threads=max(1, (os.cpu_count() or 1) // devices) if devices > 1 else None,
    )
    fabric.launch(work)

    if not (run / "checkpoints" / BEST).is_file():
        raise UsageError(f"{run}: the time was up before the first step: go on with --resume and more time")
    state = load_checkpoint(run / "checkpoints" / BEST)
    module = build_network(the_plan)
    module.load_state_dict(state["model"])
    tensors = half_precision(module)  # scored as they will be shipped
    load_tensors(module, {name: value.astype(np.float32) for name, value in tensors.items()})
    if seconds is not None and seconds <= 0:
        remarks.append(f"no step was made: {max_minutes:g} minutes are what preparing and scoring take")
    if remark := remark_on(steps_made(run), by_time=seconds is not None):
        remarks.append(remark)
    the_plan, chosen = with_steps_for(module, the_plan, parts.validation, target, progress)
    report = ValidationReport.of(the_plan, "validation" if parts.validation else "held-back")
    scores = _score(module, the_plan, parts, target, report, progress)
    if dropped := lost_postprocess(run / "bundle", the_plan):
        remarks.append(
            f"the bundle is written anew, without the post-processing it had ({dropped}): "
            f"`medseg model postprocess` chooses it again"
        )
    facts = TrainingFacts(
        dataset=found.name,
        fold=str(fold),
        steps=int(state["step"]),
        minutes=minutes_spent(run),
        device=target.description,
        precision=precision.name,
        versions={name: version(name) for name in ("medseg", "torch", "monai") if _installed(name)},
        postprocess=chosen,
    )
    bundle = export_bundle(run / "bundle", the_plan, module.cpu(), tensors, parts, facts, scores)
    # After the bundle: a picture that cannot be drawn must not cost the model.
    report.write(run / REPORT)
    draw_pictures(run, the_plan, parts, module.to(target.torch_device), target, scores["validation"])
    if progress is not None:
        progress("export", 1, 1)
    return TrainResult(run, the_plan, bundle, scores, tuple(remarks))


def _fit_in_process(
    fabric: Fabric,
    *,
    the_plan: Plan,
    parts: Split,
    settings: FitSettings,
    on_status: OnStatus | None,
    launched: float,
    threads: int | None,
) -> None:
    """One process of a training; spawned ones open the cache themselves."""
    if threads is not None and fabric.device.type == "cpu":
        torch.set_num_threads(threads)
    cache = settings.run / "cache"
    training = build_cache(parts.training, the_plan, cache)
    validation = build_cache(parts.validation, the_plan, cache)
    if the_plan.synthesis is not None:
        validation = made_cases(validation, the_plan)
    if settings.seconds is not None:  # starting a process takes seconds too; its monotonic clock is its own
        settings = replace(settings, seconds=settings.seconds - (time.time() - launched))
    fit(fabric, the_plan, training, validation, settings, on_status)


def _strategy(the_plan: Plan) -> DDPStrategy:
    """Spawned processes; while lower resolutions train alone, some weights get no gradient."""
    return DDPStrategy(start_method="spawn", find_unused_parameters=the_plan.schedule.coarse_until > 0)


def _check_call(target: Device, devices: int, max_minutes: float | None) -> None:
    if max_minutes is not None and not max_minutes > 0:
        raise UsageError(f"--max-minutes {max_minutes:g}: expected more than 0")
    if devices < 1 or (target.kind == "cuda" and devices > torch.cuda.device_count()):
        most = f" to {torch.cuda.device_count()}" if target.kind == "cuda" else " or more"
        raise UsageError(f"--devices {devices}: expected 1{most} ({target.description})")
    if devices > 1 and target.index is not None:
        raise UsageError(f"--devices {devices} with --device cuda:{target.index}: give --device cuda")


def _relay(progress: Progress | None, on_status: OnStatus | None, *, spawned: bool) -> OnStatus | None:
    """Both callbacks as one; a spawned process cannot call back, so it says little, on stderr."""
    if spawned:
        return say_status if progress is not None or on_status is not None else None
    if progress is None and on_status is None:
        return None

    def relay(status: Status) -> None:
        if on_status is not None:
            on_status(status)
        if progress is not None:
            progress("train", status.step, status.steps)

    return relay


def say_status(status: Status) -> None:
    """A line on stderr now and then."""
    if status.step % 20 == 0 or status.step == status.steps:
        sys.stderr.write(f"step {status.step} of {status.steps}: loss {status.loss:.4f}\n")


def _score(
    module: nn.Module,
    the_plan: Plan,
    parts: Split,
    target: Device,
    report: ValidationReport,
    progress: Progress | None,
) -> dict[str, list[CaseScore]]:
    """Scores of the weights as they will be shipped, in float32, on the scans' own grids.

    The report is of the validation cases, of held-back ones where nothing validates.
    """
    look = None if parts.validation else report.add
    module.to(target.torch_device)
    forward = forward_of(module, target.torch_device)
    with evaluating(module):
        return {
            "validation": score_all(parts.validation, the_plan, forward, "validate", progress, report.add),
            "held_back": score_all(
                parts.held_back, the_plan, forward, "score held-back cases", progress, look
            ),
        }


def _scoring_seconds(the_plan: Plan, target: Device, parts: Split) -> float:
    """What comes after the last step, from one timed forward pass and the median scan's windows.

    The validation cases count twice: the loop ends with a validation, the run with their final scores; and
    once more where post-processing is chosen on them.
    """
    passes = 3 if the_plan.inference.choose_postprocess else 2
    cases = passes * len(parts.validation) + len(parts.held_back)
    if not cases:
        return 0.0
    module = build_network(the_plan).to(target.torch_device).eval()
    forward = forward_of(module, target.torch_device)
    patch = np.zeros((1, the_plan.input_channels, *the_plan.patch), np.float32)
    forward(patch)
    started = time.monotonic()
    forward(patch)
    each = time.monotonic() - started
    size = (*the_plan.patch, 1) if the_plan.dimensions == 2 else the_plan.patch
    seen, shape = the_plan.fingerprint, size
    if seen is not None:
        shape = tuple(seen.shape_median[axis] for axis in WORLD_AXES[the_plan.grid.slice_axis])
    padded = tuple(max(n, p) for n, p in zip(shape, size, strict=True))
    windows = len(window_starts(padded, size, the_plan.inference.overlap))
    return 1.5 * cases * windows * each


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
