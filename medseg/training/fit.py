"""The training loop, on one device or several processes: setup, steps, validation, checkpoints.

Everything random in a step follows from the plan's seed, the step's number and the process's rank, so a
run that was killed goes on exactly as if it had not been.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.errors import MedsegError
from medseg.inference.flips import Forward
from medseg.networks import build_network
from medseg.plans import Plan
from medseg.training.average import WeightAverage
from medseg.training.batches import open_batches, step_seed
from medseg.training.cache import CachedCase
from medseg.training.checkpoints import BEST, LAST, load_checkpoint, save_checkpoint
from medseg.training.clock import Clock, learning_rate
from medseg.training.compiling import compiled, naming_the_cure, uncompiled
from medseg.training.difficulty import Difficulty, patch_losses, summed_by_case
from medseg.training.logs import RunLog
from medseg.training.losses import build_loss
from medseg.training.state import TrainingState
from medseg.training.validation import label_means, mean_of, score_cached


@dataclass(frozen=True, slots=True)
class Status:
    """Where a training stands; handed to ``on_status`` after every step."""

    step: int
    steps: int
    fraction: float
    loss: float
    learning_rate: float
    seconds_left: float | None
    dice: dict[str, float | None]


OnStatus = Callable[[Status], None]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What a run needs to know besides the plan; travels to worker processes."""

    run: Path
    seconds: float | None
    resume: bool


def fit(
    fabric: Fabric,
    plan: Plan,
    training: Sequence[CachedCase],
    validation: Sequence[CachedCase],
    settings: FitSettings,
    on_status: OnStatus | None = None,
) -> None:
    """Train until the plan's steps or the time are used up; ``checkpoints/last.pt`` and ``best.pt`` result.

    Neither results where the time is up before the first step.

    Every process calls it. ``on_status`` is called by the first process only; an exception from it stops
    the run, the last checkpoint stays. A Ctrl-C is heard between two steps, and a checkpoint kept there.
    """
    torch.manual_seed(plan.schedule.seed)
    module = build_network(plan)
    layout = memory_format(plan, fabric.device)
    # Before the optimiser, which keeps what it sees. Torch's own type hints lack the layout.
    module.to(device=fabric.device, memory_format=layout)  # type: ignore[call-overload]
    # A fused step takes the gradients' scale of float16 off by itself, where clipping cannot see it.
    fused = fabric.strategy.precision.precision != "16-mixed"
    optimiser = _optimiser(module, plan, fused=fused)
    as_planned = compiled(module) if plan.schedule.compile else module
    model, optimiser = fabric.setup(as_planned, optimiser)
    average = WeightAverage(module, plan.schedule.ema_decay)
    loss_of = build_loss(plan)
    by_case = plan.sampling.by == "case"
    difficulty = Difficulty(len(training), plan.sampling.hard_fraction) if by_case else None
    trained = TrainingState(module, optimiser, average, difficulty)
    step, done, best = 0, 0.0, -1.0
    last = settings.run / "checkpoints" / LAST
    if settings.resume and last.is_file():
        state = load_checkpoint(last)
        trained.load(state)
        step, done, best = state["step"], state["fraction"], state["best"]
        if done >= 1:  # its time was up, and its steps were not, or there is nothing left to do
            done = step / plan.schedule.steps
    clock = Clock(plan.schedule.steps, settings.seconds, done)
    fraction = _agreed(fabric, clock.fraction(step), settings)
    dice: dict[str, float | None] = {}

    with (
        _log(fabric, plan, settings, step) as log,
        open_batches(training, plan, fabric.device, fabric.global_rank, difficulty) as batches,
        _interrupts() as interrupted,
        naming_the_cure() if plan.schedule.compile else nullcontext(),
    ):
        model.train()
        while fraction < 1:
            started = time.monotonic()
            rate = learning_rate(plan.optimiser, step, fraction)
            for group in optimiser.param_groups:
                group["lr"] = rate
            torch.manual_seed(step_seed(plan, step, fabric.global_rank))  # dropout
            images, classes = batches.batch(step, fraction)
            images = images.contiguous(memory_format=layout)
            coarse = {"finest": 1} if fraction < plan.schedule.coarse_until else {}
            logits = model(images, **coarse)
            loss = loss_of(logits, classes, fraction)
            if difficulty is not None:
                losses = patch_losses(loss_of, logits, classes, fraction)
                difficulty.update(_summed(fabric, summed_by_case(batches.drawn, losses, len(training))))
            fabric.backward(loss)
            fabric.clip_gradients(
                model, optimiser, max_norm=plan.optimiser.gradient_clip, error_if_nonfinite=False
            )
            optimiser.step()
            optimiser.zero_grad()
            average.update()
            reduced: Any = fabric.all_reduce(loss.detach())
            value = _finite(float(reduced), step)
            step += 1

            fraction = _agreed(fabric, clock.fraction(step), settings)
            ended = fraction >= 1
            if log is not None:
                log.step(step - 1, value, rate, time.monotonic() - started)
            if validation and (step % plan.schedule.validate_every == 0 or ended):
                as_written = uncompiled() if plan.schedule.compile else nullcontext()
                with average.applied(), evaluating(model), as_written:
                    per_label = _validate(fabric, plan, validation, forward_of(model, fabric.device))
                mean = mean_of(list(per_label.values()))
                dice = {plan.scored[i]: value for i, value in per_label.items()}
                if log is not None:
                    log.scores(step - 1, mean, list(per_label.values()))
                if mean is not None and mean > best:
                    best = mean
                    with average.applied():
                        _save(
                            fabric,
                            {"format_version": 1, "step": step, "model": module.state_dict()},
                            settings,
                            BEST,
                        )
                fraction = _agreed(fabric, clock.fraction(step), settings)
            if log is not None and on_status is not None:
                left = clock.seconds_left(fraction)
                on_status(Status(step, plan.schedule.steps, fraction, value, rate, left, dice))
            if step % plan.schedule.checkpoint_every == 0 or interrupted:
                _checkpoint(fabric, log, settings, trained, step, fraction, best)
            if interrupted:
                raise KeyboardInterrupt
        if step == 0:
            return  # the time was up before the first step: an untrained network is not kept
        _checkpoint(fabric, log, settings, trained, step, fraction, best)
        with average.applied():
            if best < 0:  # no validation: the average at the end is what is kept
                _save(
                    fabric, {"format_version": 1, "step": step, "model": module.state_dict()}, settings, BEST
                )


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C; a second Ctrl-C interrupts at once, as ever.

    Only the main thread may listen, and only where nobody else does.
    """
    heard: list[int] = []
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield heard
        return

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, hear)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, usual)


def forward_of(model: nn.Module, device: torch.device) -> Forward:
    """A network as the numpy function that `predict_logits` wants."""

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: Tensor = model(torch.from_numpy(batch).to(device))
        return logits.float().cpu().numpy()

    return forward


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, then in training mode again."""
    model.eval()
    try:
        yield
    finally:
        model.train()


def memory_format(plan: Plan, device: torch.device) -> torch.memory_format:
    """The order of axes in memory that the device trains in fastest; a GPU is also told what else it may do.

    Channels last on a GPU, whose convolutions want them so. On a CPU (AVX2, steps of a U-Net of 8 or 16
    features, side by side) they take 15 to 18 % less time in 3D, but 40 % more in 2D.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # every step has the same shapes
        torch.backends.cuda.matmul.allow_tf32 = True
        return torch.channels_last if plan.dimensions == 2 else torch.channels_last_3d
    return torch.contiguous_format if plan.dimensions == 2 else torch.channels_last_3d


def _optimiser(module: nn.Module, plan: Plan, *, fused: bool) -> torch.optim.Optimizer:
    """The plan's optimiser; fused: all weights in one pass over memory, on a CPU too."""
    how = plan.optimiser
    if how.name == "sgd":
        return torch.optim.SGD(
            module.parameters(),
            how.learning_rate,
            momentum=0.99,
            nesterov=True,
            weight_decay=how.weight_decay,
            fused=fused,
        )
    return torch.optim.AdamW(
        module.parameters(), how.learning_rate, weight_decay=how.weight_decay, fused=fused
    )


@contextmanager
def _log(fabric: Fabric, plan: Plan, settings: FitSettings, step: int) -> Iterator[RunLog | None]:
    """The run's log in the first process, None in the others."""
    if not fabric.is_global_zero:
        yield None
        return
    with RunLog(settings.run, tuple(plan.scored.values()), step) as log:
        yield log


def _agreed(fabric: Fabric, fraction: float, settings: FitSettings) -> float:
    """Processes read different clocks: the first one's counts, or one of them would wait for ever."""
    if settings.seconds is None or fabric.world_size == 1:
        return fraction
    return float(fabric.broadcast(fraction))


def _summed(fabric: Fabric, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over all processes: each sees patches of its own, and all must draw by the same averages."""
    if fabric.world_size == 1:
        return table
    total = fabric.all_reduce(torch.from_numpy(table).to(fabric.device), reduce_op="sum")
    return np.asarray(torch.as_tensor(total).cpu())


def _finite(loss: float, step: int) -> float:
    if not np.isfinite(loss):
        raise MedsegError(
            f"the loss is {loss} at step {step}, expected a finite number: train into another folder with "
            f"precision=f32 or a lower optimiser.learning_rate (a run's plan cannot be changed)"
        )
    return loss


def _validate(
    fabric: Fabric, plan: Plan, cases: Sequence[CachedCase], forward: Forward
) -> dict[int, float | None]:
    """Mean Dice of all that is scored; each process scores its share of the cases."""
    ids = tuple(plan.scored)
    scores = [score_cached(case, plan, forward) for case in cases[fabric.global_rank :: fabric.world_size]]
    if fabric.world_size == 1:
        return label_means(scores, ids)
    sums = [[found for s in scores if (found := s.dice[i]) is not None] for i in ids]
    table = torch.tensor([[float(np.sum(one)), float(len(one))] for one in sums], device=fabric.device)
    total = fabric.all_reduce(table, reduce_op="sum")
    return {i: float(t) / float(n) if n > 0 else None for i, (t, n) in zip(ids, total, strict=True)}


def _checkpoint(
    fabric: Fabric,
    log: RunLog | None,
    settings: FitSettings,
    trained: TrainingState,
    step: int,
    fraction: float,
    best: float,
) -> None:
    if log is not None:
        log.flush()
    state = {"format_version": 1, "step": step, "fraction": fraction, "best": best, **trained.state()}
    _save(fabric, state, settings, LAST)


def _save(fabric: Fabric, state: dict[str, Any], settings: FitSettings, name: str) -> None:
    if fabric.is_global_zero:
        save_checkpoint(state, settings.run / "checkpoints" / name)
