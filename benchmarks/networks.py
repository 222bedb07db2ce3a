"""Every network side by side: parameters, operations, time per window on the CPU, and Dice at equal time.

    python benchmarks/networks.py                                  # the table, with torch
    python benchmarks/networks.py --openvino --repeats 10          # also OpenVINO, as `medseg infer` runs it
    python benchmarks/networks.py --train DATASET --minutes 10     # also Dice on the held-back fifth

The table goes to stdout as Markdown. Networks are of the size that the planner proposes for a CPU, on the
patch named above each table; weights are fresh, which changes no time. Operations are multiplications and
additions of one window, counted by torch.utils.flop_counter. Times are medians. With ``--train``, each
network gets so many minutes on the same cases, width and batch following from them as `--max-minutes` has
it; every fifth case is held back and scored.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import medseg
from medseg.inference.backends.openvino import OpenVinoBackend
from medseg.models import ModelBundle, Scope, save_bundle
from medseg.networks import build_network, encoder_names, network_names
from medseg.plans import Plan
from medseg.training.export import half_precision
from medseg.training.network_size import network_size
from medseg.training.onnx_export import onnx_builder
from medseg.training.planner import plan_patch

PATCHES = {2: (512, 512), 3: (64, 64, 64)}


@dataclass(frozen=True, slots=True)
class Settings:
    """How much to measure: ``only`` networks whose row's name contains one of these; empty: all."""

    only: tuple[str, ...]
    dimensions: tuple[int, ...]
    patches: dict[int, tuple[int, ...]]
    repeats: int
    threads: int
    openvino: bool
    dataset: Path | None
    minutes: float


def networks() -> Iterator[tuple[str, dict[str, Any]]]:
    """What a row is called, and the section ``network`` that asks for it."""
    for encoder in encoder_names():
        yield encoder, {"encoder": encoder}
        if encoder == "plain":  # gates cost the others as little
            yield f"{encoder}, gates", {"encoder": encoder, "attention_gates": True}
    for name in network_names():
        if name != "unet":
            yield name, {"name": name}


def proposed(asked: dict[str, Any], patch: tuple[int, ...]) -> Plan:
    """The planner's network for scans of the patch's size with cubic voxels, two labels."""
    dimensions = len(patch)
    how = network_size(asked, on_gpu=False)
    whole, strides, _ = plan_patch(patch, (1.0,) * dimensions, int(np.prod(patch)), how.topology)
    return Plan.checked(
        {
            "name": "benchmark",
            "dimensions": dimensions,
            "channels": [{"name": "image"}],
            "labels": [{"id": n, "name": f"label {n}", "colour": (0, 0, 0)} for n in (1, 2)],
            "patch": whole,
            "network": {
                **asked,
                "features": how.of_stages(len(strides), dimensions),
                "strides": strides,
                "deep_supervision": min(2, len(strides) - 2),
            },
        }
    )


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Of so many runs after one to warm up."""
    run()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def measured(plan: Plan, settings: Settings) -> list[str]:
    """Features, parameters, operations and times of one network, as cells."""
    network = build_network(plan).eval()
    patch = torch.zeros(1, 1, *plan.patch)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(patch)
        seconds = median_seconds(lambda: network(patch), settings.repeats)
    parameters = sum(p.numel() for n, p in network.named_parameters() if "deep_supervision" not in n)
    cells = [
        " ".join(map(str, plan.network.features)),
        f"{parameters / 1e6:.2f}",
        f"{counter.get_total_flops() / 1e9:.1f}",
        f"{1000 * seconds:.0f}",
    ]
    if settings.openvino:
        with tempfile.TemporaryDirectory() as folder:
            backend = OpenVinoBackend(
                exported(plan, network, Path(folder) / "bundle"),
                precision="f32",
                threads=settings.threads,
                why="benchmark",
            )
            values = patch.numpy()
            cells.append(f"{1000 * median_seconds(lambda: backend(values), settings.repeats):.0f}")
    return cells


def exported(plan: Plan, network: torch.nn.Module, folder: Path) -> ModelBundle:
    """A bundle of a network as it is."""
    tensors = half_precision(network)
    return save_bundle(
        folder,
        plan=plan,
        weights=tensors,
        build_onnx=onnx_builder(network, plan, tensors),
        scope=Scope(dimensions=plan.dimensions, description="nothing: weights are fresh"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# benchmark\n",
        licence="CC0\n",
    )


def dice(asked: dict[str, Any], settings: Settings) -> str:
    """Mean Dice over the held-back fifth after so many minutes, and how many steps they were."""
    assert settings.dataset is not None
    overrides = [f"network.{key}={value}" for key, value in asked.items()]
    with tempfile.TemporaryDirectory() as folder:
        result = medseg.train(
            settings.dataset,
            Path(folder) / "run",
            fold="all",
            overrides=(*overrides, "hold_back_every=5", "schedule.steps=1000000"),
            max_minutes=settings.minutes,
            device="cpu",
        )
        found = [score.mean for score in result.scores["held_back"] if score.mean is not None]
        steps = result.bundle.training["steps"]
    return f"{statistics.fmean(found):.4f} ({steps} steps)" if found else "none"


def print_table(dimensions: int, settings: Settings) -> None:
    """One row per network, as it is measured."""
    patch = settings.patches[dimensions]
    columns = ["network", "features", "parameters (M)", "operations (G)", "torch (ms)"]
    columns += ["OpenVINO (ms)"] if settings.openvino else []
    columns += [f"Dice after {settings.minutes:g} min"] if settings.dataset is not None else []
    print(f"\n{dimensions}D, {'x'.join(map(str, patch))}, {settings.threads} threads\n")
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns), flush=True)
    for name, asked in networks():
        if settings.only and not any(word in name for word in settings.only):
            continue
        cells = [name, *measured(proposed(asked, patch), settings)]
        if settings.dataset is not None:
            cells.append(dice(asked, settings))
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Read the options and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", default=(), help="parts of names of rows")
    parser.add_argument("--dimensions", nargs="*", type=int, choices=(2, 3), default=(2, 3))
    parser.add_argument("--patch", nargs="*", type=int, help="with one of --dimensions: the window")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--openvino", action="store_true", help="exports each network first")
    parser.add_argument("--train", type=Path, help="a dataset whose dimensions are those of --dimensions")
    parser.add_argument("--minutes", type=float, default=10.0, help="per network, export included")
    arguments = parser.parse_args()
    patches = dict(PATCHES)
    if arguments.patch:
        patches[len(arguments.patch)] = tuple(arguments.patch)
    torch.set_num_threads(arguments.threads)
    settings = Settings(
        tuple(arguments.only),
        tuple(arguments.dimensions),
        patches,
        arguments.repeats,
        arguments.threads,
        arguments.openvino,
        arguments.train,
        arguments.minutes,
    )
    for dimensions in settings.dimensions:
        print_table(dimensions, settings)


if __name__ == "__main__":
    main()
