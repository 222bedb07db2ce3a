"""Which model segments a scan, and that model ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from medseg.errors import InputRefused, UsageError
from medseg.inference import Backend, open_backend
from medseg.models import ModelBundle, candidates, default_model, load_model
from medseg.pipeline.ensemble import check_members
from medseg.pipeline.options import InferOptions
from medseg.quality import check_scope
from medseg.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class OpenModel:
    """A bundle with its network loaded and compiled, for any number of scans.

    ``seconds`` is how long that took.
    """

    bundle: ModelBundle
    backend: Backend
    seconds: float


def open_model(
    model: str | Path | ModelBundle,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> OpenModel:
    """Load a model and its network once; give it to `infer` as ``model`` for many scans.

    Parameters and errors are those of `medseg.load_model` and `medseg.inference.open_backend`.
    """
    start = perf_counter()
    bundle = model if isinstance(model, ModelBundle) else load_model(model)
    opened = open_backend(bundle, backend=backend, device=device, precision=precision, threads=threads)
    return OpenModel(bundle, opened, perf_counter() - start)


def on_the_cpu(model: OpenModel, options: InferOptions) -> OpenModel:
    """The same model for the CPU, in the precision that was asked for."""
    return open_model(
        model.bundle,
        backend=options.backend,
        device="cpu",
        precision=options.precision,
        threads=options.threads,
    )


ModelLike = str | Path | ModelBundle | OpenModel


@dataclass(slots=True, eq=False)
class ModelChooser:
    """Finds the models of each scan, and opens each model once. Several are an ensemble.

    Parameters
    ----------
    named
        The model asked for, or several; None means the user's default, else the one whose scope accepts
        the scan.
    options
        Backend, device, precision and threads to open with.
    """

    named: ModelLike | Sequence[ModelLike] | None
    options: InferOptions
    _bundles: tuple[ModelBundle, ...] = ()
    _candidates: list[ModelBundle] | None = None
    _open: dict[str, OpenModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Models that are named are loaded first: a wrong name must fail before a scan is read.
        if isinstance(self.named, str | Path | ModelBundle | OpenModel):
            self._bundles = (self._load(self.named),)
        elif self.named is not None:
            self._bundles = tuple(self._load(one) for one in self.named)
            check_members(self._bundles)
        elif (name := default_model()) is not None:
            self._bundles = (load_model(name),)

    def _load(self, model: ModelLike) -> ModelBundle:
        if isinstance(model, OpenModel):
            self._open[model.bundle.hash] = model
            return model.bundle
        if not isinstance(model, str | Path | ModelBundle):
            raise UsageError(f"model {model!r}: expected a name, a path, a bundle or an opened model")
        return model if isinstance(model, ModelBundle) else load_model(model)

    @property
    def named_bundles(self) -> tuple[ModelBundle, ...]:
        """The models that are named, or the user's default; empty where the scan decides."""
        return self._bundles

    def bundles(self, volume: Volume, channels: Sequence[str] = ()) -> tuple[ModelBundle, ...]:
        """The models for a scan whose channels have these names (empty: as the file has them).

        Raises
        ------
        InputRefused
            ``no-model`` or ``several-models`` if no model is named and not exactly one accepts the scan.
        """
        if self._bundles:
            return self._bundles
        if self._candidates is None:
            self._candidates = candidates()
        fitting = fitting_models(volume, self._candidates, channels)
        if len(fitting) == 1:
            return fitting
        listed = "; ".join(f"{b.name} ({b.scope.description})" for b in fitting or self._candidates) or "none"
        if fitting:
            raise InputRefused(
                f"several models accept this scan, name one with -m: {listed}", code="several-models"
            )
        raise InputRefused(
            f"no model accepts this scan; name one with -m if you know better. Models: {listed}",
            code="no-model",
        )

    def opened(self, bundles: Sequence[ModelBundle]) -> tuple[tuple[OpenModel, ...], float]:
        """The models' networks ready to run, and the seconds that opening them took now.

        A network is compiled on the first call, and kept for the next.
        """
        seconds = 0.0
        chosen = self.options
        for bundle in bundles:
            if bundle.hash not in self._open:
                self._open[bundle.hash] = open_model(
                    bundle,
                    backend=chosen.backend,
                    device=chosen.device,
                    precision=chosen.precision,
                    threads=chosen.threads,
                )
                seconds += self._open[bundle.hash].seconds
        return tuple(self._open[bundle.hash] for bundle in bundles), seconds


def fitting_models(
    volume: Volume, models: Sequence[ModelBundle], channels: Sequence[str] = ()
) -> tuple[ModelBundle, ...]:
    """Those of some models whose channels and scope accept a scan, in their order.

    ``channels`` are the names of the scan's channels; empty: as many as the file has, whatever their names.
    """
    return tuple(one for one in models if _takes(one, volume, channels) and _in_scope(one, volume))


def _takes(bundle: ModelBundle, volume: Volume, channels: Sequence[str]) -> bool:
    wanted = [channel.name for channel in bundle.plan.channels]
    return sorted(channels) == sorted(wanted) if channels else volume.data.shape[0] == len(wanted)


def _in_scope(bundle: ModelBundle, volume: Volume) -> bool:
    return check_scope(volume, bundle).status == "ok"
