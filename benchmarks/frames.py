"""Frames in real time: how many a second, and how late a result is, for each encoder of a 2D U-Net.

    python benchmarks/frames.py OUT.jsonl [--encoders lenet5,plain,resnet18] [--features 4] [--size 512]
        [--channels 1] [--frames 250] [--rate 25] [--threads 2] [--precision f32]

Models are made on the spot and not trained, as time does not depend on weights. For each encoder:

- ``frames_per_second``: frames from memory, as fast as `medseg.segment_frames` gives labels; ``apart`` with
  ``look_ahead=1``, one after another on all threads, ``beside`` with 2, two at a time on half of them each;
- ``latency_ms``: from a frame that is there to its labels, one by one (median, 95th percentile, largest);
- ``paced_ms``: the same for frames that come at ``--rate`` a second, read while others are segmented: from
  the time a frame is due to the time its labels are in hand, so that a network too slow for the rate shows
  as latency that grows; again ``apart`` and ``beside``;
- ``infer_ms``: `medseg.infer` on the same frame, with its measurements and checks, for comparison.

One JSON line an encoder is added to OUT; encoders whose line is there with the same settings are left out,
so that a run which was cut off goes on. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import medseg
from medseg.models import ModelBundle, Scope, save_bundle
from medseg.networks import build_network
from medseg.pipeline import OpenModel, open_model
from medseg.plans import Plan
from medseg.training.export import half_precision
from medseg.training.onnx_export import onnx_builder

LOOK_AHEAD = {"apart": 1, "beside": 2}
ENCODERS = "lenet5,plain,vgg11,resnet18,resnet34,googlenet,vgg16,resnet50"


def main() -> None:
    arguments = parser().parse_args()
    settings = {name: value for name, value in vars(arguments).items() if name not in ("out", "encoders")}
    done = earlier(arguments.out)
    for encoder in arguments.encoders.split(","):
        row = {"encoder": encoder, **settings}
        if any(row.items() <= line.items() for line in done):
            continue
        with tempfile.TemporaryDirectory() as folder:
            bundle = untrained(Path(folder) / "bundle", encoder, arguments)
            model = open_model(
                bundle, backend="openvino", precision=arguments.precision, threads=arguments.threads
            )
            row |= measured(model, arguments)
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{encoder:10} {row['parameters'] / 1e6:6.2f} M parameters  "
            f"latency {row['latency_ms']['p50']:.1f} / {row['latency_ms']['p95']:.1f} ms  "
            f"infer {row['infer_ms']['p50']:.1f} ms",
            *(
                f"{way}: {row['frames_per_second'][way]:.1f} frames/s, at {arguments.rate:g}/s "
                f"{row['paced_ms'][way]['p50']:.1f} / {row['paced_ms'][way]['p95']:.1f} ms"
                for way in LOOK_AHEAD
            ),
            sep="  ",
            flush=True,
        )


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("out", type=Path)
    made.add_argument("--encoders", default=ENCODERS, help="separated by commas; default %(default)s")
    made.add_argument("--features", type=int, default=4, help="of the finest stage, doubled at each")
    made.add_argument("--size", type=int, default=512)
    made.add_argument("--channels", type=int, default=1, choices=(1, 3))
    made.add_argument("--frames", type=int, default=250)
    made.add_argument("--rate", type=float, default=25.0)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--precision", default="f32", choices=("f32", "bf16", "f16"))
    return made


def earlier(out: Path) -> list[dict[str, Any]]:
    if not out.is_file():
        return []
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def untrained(folder: Path, encoder: str, arguments: argparse.Namespace) -> ModelBundle:
    """A bundle as training would export it: five stages, one window of the frame's size, two structures."""
    names = ("grey",) if arguments.channels == 1 else ("red", "green", "blue")
    plan = Plan.checked(
        {
            "name": encoder,
            "dimensions": 2,
            "channels": [{"name": name, "normalisation": "unit", "low": 0, "high": 255} for name in names],
            "labels": [{"id": i, "name": f"structure {i}", "colour": (200, 60 * i, 60)} for i in (1, 2)],
            "grid": {"orientation": None},
            "patch": (arguments.size, arguments.size),
            "network": {
                "encoder": encoder,
                "features": arguments.features,
                "strides": ((1, 1), (2, 2), (2, 2), (2, 2), (2, 2)),
                "deep_supervision": 0,
            },
        }
    )
    module = build_network(plan).eval()
    tensors = half_precision(module)
    return save_bundle(
        folder,
        plan=plan,
        weights=tensors,
        build_onnx=onnx_builder(module, plan, tensors),
        scope=Scope(dimensions=2, description="a benchmark"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# Benchmark\n",
        licence="CC0\n",
    )


def measured(model: OpenModel, arguments: argparse.Namespace) -> dict[str, Any]:
    frames = moving(arguments)
    parameters = sum(int(tensor.size) for tensor in model.bundle.weights().values())
    for _ in medseg.segment_frames(frames[:10], model):  # the first runs take memory
        pass
    return {
        "parameters": parameters,
        "frames_per_second": {way: per_second(frames, model, ahead) for way, ahead in LOOK_AHEAD.items()},
        "latency_ms": spread(one_by_one(frames, model)),
        "paced_ms": {
            way: spread(paced(frames, model, arguments.rate, ahead)) for way, ahead in LOOK_AHEAD.items()
        },
        "infer_ms": spread(by_infer(frames[:20], model)),
        "processor": model.backend.settings["device_name"],
    }


def moving(arguments: argparse.Namespace) -> list[np.ndarray]:
    """Speckle under a bright band that moves, as in ultrasound: (height, width) or (height, width, 3)."""
    generator = np.random.default_rng(0)
    shape = (arguments.size, arguments.size)
    rows, columns = np.indices(shape)
    speckle = generator.gamma(2.0, 30.0, shape)
    frames = []
    for n in range(arguments.frames):
        band = 90 * np.exp(-(((rows - columns / 3 - 2 * n) % shape[0] - 60) ** 2) / 400)
        frame = (np.roll(speckle, n, axis=1) + band).clip(0, 255).astype(np.uint8)
        frames.append(frame if arguments.channels == 1 else np.repeat(frame[..., None], 3, axis=2))
    return frames


def per_second(frames: list[np.ndarray], model: OpenModel, look_ahead: int) -> float:
    results = medseg.segment_frames(frames, model, look_ahead=look_ahead)
    next(results)  # with the networks opened and their memory taken
    start = time.perf_counter()
    count = sum(1 for _ in results)
    return round(count / (time.perf_counter() - start), 1)


def one_by_one(frames: list[np.ndarray], model: OpenModel) -> Iterator[float]:
    results = medseg.segment_frames(frames, model, look_ahead=0)
    for _ in frames:
        start = time.perf_counter()
        next(results)
        yield time.perf_counter() - start


def paced(frames: list[np.ndarray], model: OpenModel, rate: float, look_ahead: int) -> Iterator[float]:
    def camera() -> Iterator[np.ndarray]:
        for n, frame in enumerate(frames):
            time.sleep(max(0.0, start + n / rate - time.perf_counter()))
            yield frame

    results = medseg.segment_frames(camera(), model, look_ahead=look_ahead)  # opens the networks
    start = time.perf_counter() + 0.05

    for n, _ in enumerate(results):
        yield time.perf_counter() - (start + n / rate)


def by_infer(frames: list[np.ndarray], model: OpenModel) -> Iterator[float]:
    for frame in frames:
        channels = frame if frame.ndim == 3 else frame[..., None]
        data = channels.transpose(2, 1, 0)[..., None]
        grid = medseg.Geometry(
            data.shape[1:], np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True, spacing_known=False
        )
        start = time.perf_counter()
        medseg.infer(medseg.Volume(data, grid), model)
        yield time.perf_counter() - start


def spread(seconds: Iterator[float]) -> dict[str, float]:
    values = 1000 * np.array(list(seconds))
    middle, late = np.percentile(values, (50, 95))
    return {
        "p50": round(float(middle), 2),
        "p95": round(float(late), 2),
        "max": round(float(values.max()), 2),
    }


if __name__ == "__main__":
    main()
