"""Segmenting from the window: models to choose from, what was asked for, and the run. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

from numpy.typing import NDArray

import medseg
from medseg import InputRefused, MedsegError, ModelBundle, Verdict, Volume
from medseg.inference.backends import nvidia_driver_present
from medseg.models import candidates, list_models
from medseg.pipeline.models import fitting_models
from napari_medseg.layers import UNASKED, Opening
from napari_medseg.results import RunResult, run_result
from napari_medseg.run_options import RunOptions

Progress = Callable[[str, int, int], None]
Channel = tuple[NDArray[Any], Mapping[str, Any]]

_STAGES = {"predict": "Segmenting"}
_AUTOMATIC_TEXT = (
    "Takes your default model, or else the built-in model whose scope accepts the scan. If none or several "
    "do, you are asked to choose one."
)
_TO_CHOOSE = {
    "no-model": "no model was made for this scan. There are\n{}\nIf you know better, choose one above.",
    "several-models": "several models are made for this scan:\n{}\nChoose a model above.",
}


class Cancelled(Exception):
    """The person pressed Cancel. Not an error of medseg, so it passes through every handler there."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelChoice:
    """A model as the widget offers it.

    Parameters
    ----------
    title
        As it is listed.
    bundle
        The model; None lets the scan decide.
    """

    title: str
    bundle: ModelBundle | None = None

    @property
    def scope(self) -> str:
        """The scans that it is for, in a few sentences."""
        return _AUTOMATIC_TEXT if self.bundle is None else self.bundle.scope.description

    @property
    def card(self) -> str:
        """The model card in Markdown; "" where the scan decides, or where the bundle has none."""
        card = "docs/README.md"
        return "" if self.bundle is None or card not in self.bundle.files else self.bundle.text(card)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the images that it wants, in its order. One without a name where the scan decides."""
        return ("",) if self.bundle is None else tuple(c.name for c in self.bundle.plan.channels)


_AUTOMATIC = ModelChoice("Automatic: by the scan")


def model_choices() -> tuple[ModelChoice, ...]:
    """The choice by the scan first, then every model that has a name.

    Raises
    ------
    MedsegError
        If the user's default model is not there or broken.
    """
    listed = (ModelChoice(f"{entry.name} ({entry.origin})", entry.bundle) for entry in list_models())
    return (_AUTOMATIC, *listed)


def builtin_choices() -> tuple[ModelChoice, ...]:
    """The choice by the scan, and the models that travel with medseg, whatever the user's default is."""
    return (_AUTOMATIC, *map(_builtin, candidates()))


def _builtin(bundle: ModelBundle) -> ModelChoice:
    return ModelChoice(f"{bundle.name} (built-in)", bundle)


def opened_choice(path: str | Path) -> ModelChoice:
    """A model from a folder or zip that the person browsed for.

    Raises
    ------
    ModelRefused, NotFound
        As `medseg.load_model`.
    """
    bundle = medseg.load_model(Path(path))
    return ModelChoice(f"{bundle.name} ({Path(path).name})", bundle)


def devices() -> tuple[str, ...]:
    """Devices to choose from: CUDA only where there are a driver and torch, which is not imported for it."""
    cuda = nvidia_driver_present() and find_spec("torch") is not None
    return ("auto", "cpu", "cuda") if cuda else ("auto", "cpu")


def run(
    volume: Volume,
    choice: ModelChoice,
    options: RunOptions,
    progress: Progress,
    cancelled: Event,
    opening: Opening = UNASKED,
) -> RunResult:
    """Segment a scan and clean the result up, until it is done or ``cancelled`` is set.

    Parameters
    ----------
    volume
        From `napari_medseg.layers.volume_of`.
    choice, options
        What was asked for.
    progress
        Called in this thread as ``progress(stage, done, total)``.
    cancelled
        Looked at after every window of the network.
    opening
        How the scan was opened, for the provenance: the same run from its file needs the same words.

    Raises
    ------
    Cancelled
        If it was set.
    MedsegError
        As `medseg.infer` and `CleanUp.apply`; a refusal for want of a model says what to do in the window.
    """

    def tell(stage: str, done: int, total: int) -> None:
        if cancelled.is_set():
            raise Cancelled
        progress(stage, done, total)

    try:
        found = medseg.infer(
            volume,
            choice.bundle,
            device=options.device,
            overlap=options.overlap,
            tta=options.tta,
            entropy=options.wants_doubt(volume.geometry.shape),
            series=opening.series,
            allow=opening.allow,
            progress=tell,
        )
    except InputRefused as error:
        if error.code not in _TO_CHOOSE:
            raise
        raise _asked_to_choose(error.code, volume) from error
    if cancelled.is_set():
        raise Cancelled
    return run_result(found, options)


def _asked_to_choose(code: str, volume: Volume) -> InputRefused:
    """The refusal of a scan that no model or several accept, for somebody who has a list of models."""
    models = candidates() if code == "no-model" else fitting_models(volume, candidates())
    names = "\n".join(_builtin(one).title for one in models)
    return InputRefused(_TO_CHOOSE[code].format(names), code=code)


def stage_text(stage: str, done: int, total: int) -> str:
    """A stage of `medseg.infer` as the progress bar names it."""
    return f"{_STAGES.get(stage, stage)}: {done} of {total}"


def channels_at_first(names: Sequence[str], chosen: int, layers: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which layer goes with which channel of a model, before a person changes it.

    Parameters
    ----------
    names
        The model's channels.
    chosen
        The position of the layer that the person selected.
    layers
        What medseg keeps with each image layer.

    Returns
    -------
    list of int
        A position per channel. Where the selected layer's file has as many channels as the model, its
        layers in their order; else the selected layer for the first channel and the following layers, in
        the order of the window and from its start again, for the others.
    """
    paths = layers[chosen]["source"].paths
    same = [n for n, kept in enumerate(layers) if paths and kept["source"].paths == paths]
    same.sort(key=lambda n: int(layers[n].get("channel", 0)))
    if len(same) == len(names):
        return same
    return [(chosen + n) % len(layers) for n in range(len(names))]


def failure(error: Exception) -> tuple[Verdict, bool]:
    """An exception as a verdict to be shown, and whether it is a bug of medseg rather than a finding."""
    if isinstance(error, medseg.InputRefused):
        return Verdict.refusal(error), False
    if isinstance(error, MedsegError):
        return Verdict.of("failed", "failed", str(error)), False
    text = f"{type(error).__name__}: {error}. This is a fault in medseg; please report it with this text"
    return Verdict.of("failed", "bug", text), True
