"""What a backend says its runs will take, against what processes of their own then take.

    python benchmarks/backend_memory.py [--patches 64 128] [--backends openvino torch]

U-Nets of 25 thousand to 31 million parameters with 3 and 105 classes, in float32 and bfloat16. Measured is
the growth of resident memory from before the first call to its peak over three calls, Linux only. The figures
in `medseg/inference/backends` come from here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.inference.backends import open_backend
from medseg.labels import LabelSet
from medseg.models import Scope, load_model, save_bundle
from medseg.plans import Plan, labels_as_specs

NETWORKS = {
    "6 to 12 features": (6, 10, 12),
    "16 to 128 features": (16, 32, 64, 128),
    "32 to 320 features": (32, 64, 128, 256, 320, 320),
}


def save(folder: Path, features: tuple[int, ...], classes: int) -> None:
    """A U-Net with random weights."""
    from medseg.networks import build_network, tensors_of
    from medseg.training.onnx_export import onnx_builder

    smallest = 2 ** (len(features) - 1)
    plan = Plan.checked(
        {
            "name": folder.name,
            "dimensions": 3,
            "channels": [{"name": "c"}],
            "labels": labels_as_specs(LabelSet.from_names({n: f"l{n}" for n in range(1, classes)})),
            "patch": (2 * smallest,) * 3,
            "network": {
                "features": features,
                "strides": ((1, 1, 1), *((2, 2, 2),) * (len(features) - 1)),
                "deep_supervision": 0,
            },
        }
    )
    network = build_network(plan).eval()
    weights = {name: value.astype(np.float16) for name, value in tensors_of(network).items()}
    save_bundle(
        folder,
        plan=plan,
        weights=weights,
        build_onnx=onnx_builder(network, plan, weights),
        scope=Scope(dimensions=3, description="anything"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# Random\n",
        licence="CC0\n",
    )


def measure(folder: str, backend: str, precision: str, size: int) -> None:
    """Print bytes foretold and bytes taken; in a process of its own."""
    bundle = load_model(folder)
    bundle = replace(bundle, plan=bundle.plan.model_copy(update={"patch": (size,) * 3}))
    run = open_backend(bundle, backend=backend, device="cpu", precision=precision)
    foretold = run.activation_bytes()
    patch = np.random.default_rng(0).normal(size=(1, 1, size, size, size)).astype(np.float32)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is now what is in use
    before = kilobytes("VmRSS")
    for _ in range(3):
        run(patch)
    print(json.dumps([foretold, 1024 * (kilobytes("VmHWM") - before)]))


def kilobytes(what: str) -> int:
    """A figure of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--patches", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--backends", nargs="+", default=["openvino", "torch"])
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        folder, backend, precision, size = options.case
        return measure(folder, backend, precision, int(size))
    print("| backend | U-Net | classes | patch | precision | foretold MB | taken MB | off |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        for (words, features), classes in itertools.product(NETWORKS.items(), (3, 105)):
            folder = Path(temporary) / f"{features[0]}-{classes}"
            save(folder, features, classes)
            for backend, size, precision in itertools.product(
                options.backends, options.patches, ("f32", "bf16")
            ):
                case = [str(folder), backend, precision, str(size)]
                done = subprocess.run(
                    [sys.executable, __file__, "--case", *case], capture_output=True, text=True, check=True
                )
                foretold, taken = json.loads(done.stdout)
                print(
                    f"| {backend} | {words} | {classes} | {size} | {precision} | {foretold / 1e6:.0f} | "
                    f"{taken / 1e6:.0f} | {100 * (foretold / taken - 1):+.0f} % |",
                    flush=True,
                )
    return None


if __name__ == "__main__":
    main()
