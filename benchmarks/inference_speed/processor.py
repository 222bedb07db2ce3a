"""OpenVINO against torch on the CPU: forward passes in turn, and the labels they lead to."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from inference_speed.child import Kept, answer_each
from inference_speed.networks import planned, usual
from inference_speed.report import save, table
from inference_speed.settings import Settings

# "Eager torch" is the network as a script runs it: as built, default memory layout, autocast for bfloat16.
_RUNNERS = tuple(
    f"{how} {precision}"
    for how in ("eager torch", "medseg torch", "medseg openvino")
    for precision in ("f32", "bf16")
)


def backends(settings: Settings, scans: int, rounds: int) -> str:
    """Ratios of medians, eager torch in float32 being 1; Dice between its labels and each other's."""
    net = planned(32) if settings.quick else usual(128)
    [bundle], [scan] = settings.prepared([net], [(64, 56, 48) if settings.quick else (160, 128, 128)])
    cases = [(f"{net.name}, patch {net.patch}", bundle, [scan])]
    folder = settings.data / "hippocampus" / "imagesTr"
    files = sorted(map(str, folder.glob("*.nii.gz")))[:scans]
    if files:
        cases.insert(0, ("hippocampus (built in)", "hippocampus", files))
    else:
        print(f"no scans in {folder}: the built-in model is left out")
    rows, results = [], []
    for name, model, images in cases:
        found = _race(model, images, rounds, settings.work)
        base = found["seconds"]["eager torch f32"]
        for runner in _RUNNERS:
            seconds = found["seconds"].get(runner)
            rows.append(
                [
                    f"{name}, {found['parameters'] / 1e6:.1f} million weights: {runner}", seconds,
                    None if seconds is None else base / seconds,
                    found["voxels_differing"].get(runner), found["dice"].get(runner),
                ]
            )  # fmt: skip
            print(rows[-1], flush=True)
        results.append({"net": name, **found})
    save(settings.out, "backends", {"rounds": rounds, "runs": results})
    head = [
        "network: how it is run", "s per pass", "times as fast as eager torch f32", "voxels that differ",
        "mean Dice with eager torch f32",
    ]  # fmt: skip
    return table(head, rows)


def _race(model: str, scans: Sequence[str], rounds: int, work: Path) -> dict[str, Any]:
    """One pass of each runner in turn, each in a process of its own, then the labels of whole scans."""
    with ExitStack() as stack:
        kept = {}
        for runner in _RUNNERS:
            worker = Kept("processor", runner=runner, model=model)
            stack.callback(worker.close)
            opened = worker.ask("open")
            if opened["why_not"] is None:
                kept[runner], parameters = worker, opened["parameters"]
            else:
                print(f"{runner}: {opened['why_not']}")
        taken: dict[str, list[float]] = {runner: [] for runner in kept}
        for number in range(rounds + 1):
            for runner, worker in kept.items():
                seconds = worker.ask("pass")
                if number:  # the first pass plans its memory
                    taken[runner].append(seconds)
        labels = {}
        for number, (runner, worker) in enumerate(kept.items()):
            path = work / f"labels-{number}.npz"
            worker.ask({"scans": list(scans), "out": str(path)})
            with np.load(path) as maps:
                labels[runner] = [maps[key] for key in maps.files]
            path.unlink()
    reference = labels["eager torch f32"]
    return {
        "parameters": parameters,
        "seconds": {runner: statistics.median(values) for runner, values in taken.items()},
        "rounds": taken,
        "dice": {runner: _dice(reference, maps) for runner, maps in labels.items()},
        "voxels_differing": {
            runner: float(np.mean([np.mean(a != b) for a, b in zip(reference, maps, strict=True)]))
            for runner, maps in labels.items()
        },
    }


def _dice(first: Sequence[Any], second: Sequence[Any]) -> float | None:
    """Mean over scans and labels that either map has."""
    values = []
    for a, b in zip(first, second, strict=True):
        for label in range(1, int(max(a.max(), b.max())) + 1):
            total = np.count_nonzero(a == label) + np.count_nonzero(b == label)
            if total:
                values.append(2 * np.count_nonzero((a == label) & (b == label)) / total)
    return float(np.mean(values)) if values else None


class _Runner:
    """One way to run one network, in its own process: answers "open", "pass", and a list of scans."""

    def __init__(self, runner: str, model: str) -> None:
        from medseg.models import load_model

        self._how, self._precision = runner.rsplit(" ", 1)
        self._bundle = load_model(model)
        size = (1, 1, *self._bundle.plan.patch)
        self._window = np.random.default_rng(0).normal(size=size).astype(np.float32)

    def __call__(self, question: Any) -> Any:
        from inference_speed.timed import bare_seconds
        from medseg.errors import UsageError

        if question == "open":
            try:
                self._forward = self._opened()
            except UsageError as error:
                return {"why_not": str(error)}
            return {
                "why_not": None,
                "parameters": sum(value.size for value in self._bundle.weights().values()),
            }
        if question == "pass":
            return bare_seconds(self._forward, [self._window])
        np.savez(question["out"], *[self._labels(scan) for scan in question["scans"]])
        return None

    def _opened(self) -> Callable[[Any], Any]:
        from medseg.inference import open_backend

        if self._how == "eager torch":
            return _eager(self._bundle, self._precision)
        name = self._how.removeprefix("medseg ")
        return open_backend(self._bundle, backend=name, device="cpu", precision=self._precision)

    def _labels(self, scan: str) -> Any:
        """Classes by MONAI's sliding window, the same for every runner."""
        import torch
        from monai.inferers import sliding_window_inference

        from medseg import read
        from medseg.preprocess import prepare

        plan = self._bundle.plan
        logits = sliding_window_inference(
            torch.from_numpy(prepare(read(scan), plan).data)[None],
            plan.patch,
            1,
            lambda windows: torch.from_numpy(self._forward(windows.numpy())),
            overlap=0.5,
            mode="gaussian",
        )
        return logits.argmax(1)[0].numpy().astype(np.uint8)


def _eager(bundle: Any, precision: str) -> Callable[[Any], Any]:
    import torch

    from medseg.networks import build_network, load_tensors

    network = build_network(bundle.plan).eval()
    load_tensors(network, bundle.weights())

    def forward(batch: Any) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return network(torch.from_numpy(batch)).float().numpy()

    return forward


if __name__ == "__main__":
    answer_each(_Runner(**json.loads(sys.argv[1])))
