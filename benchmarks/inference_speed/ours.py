"""Measured runs of medseg: one task per process, see `child`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from inference_speed.child import answer, peak_bytes
from inference_speed.networks import Net, make_bundle, make_scan, windows_of
from inference_speed.timed import Timed, bare_seconds


def prepare_files(
    root: str, nets: Sequence[dict[str, Any]], scans: Sequence[tuple[Sequence[int], int]]
) -> dict[str, Any]:
    """Make the bundles and scans that later runs open, so that their making is in no measurement."""
    Path(root).mkdir(parents=True, exist_ok=True)
    return {
        "bundles": [str(make_bundle(Net(**net), Path(root))) for net in nets],
        "scans": [str(make_scan(shape, Path(root), seed)) for shape, seed in scans],
    }


def case(
    bundle: str,
    scan: str,
    out: str | None = None,
    backend: str = "openvino",
    precision: str = "f32",
    overlap: float = 0.5,
    sums: str = "auto",
    max_memory: int | None = None,
    scratch: str | None = None,
) -> dict[str, Any]:
    """One scan through the engine: file in to, where ``out`` is given, label file out."""
    from medseg import read, write
    from medseg.inference import Member, open_backend, segment
    from medseg.models import load_model
    from medseg.volume import LabelMap

    model = load_model(bundle)
    network = Timed(open_backend(model, backend=backend, device=_device(backend), precision=precision))
    start = perf_counter()
    volume = read(scan)
    reading = perf_counter() - start
    before = perf_counter()
    found = segment(
        volume,
        [Member(model.plan, network)],
        overlap=overlap,
        sums=sums,  # type: ignore[arg-type]
        max_memory=max_memory,
        scratch=None if scratch is None else Path(scratch),
    )
    wall = perf_counter() - before
    engine_peak = peak_bytes()
    result = {
        "read_s": reading,
        "segment_s": wall,
        "forward_s": network.seconds,
        "windows": network.windows,
        "prepare_s": found.timings_s.get("prepare"),
        "engine_peak_bytes": engine_peak,
        "predicted_bytes": found.memory.predicted_bytes,
        "place": found.memory.place,
        "sums": found.memory.sums,
        "notes": list(found.notes),
        "labels_found": len(np.unique(found.ids)),
        "backend": dict(network.settings),
    }
    if out is not None:
        before = perf_counter()
        write(LabelMap(found.ids, volume.geometry, model.label_set, volume.source), out, overwrite=True)
        result["write_s"] = perf_counter() - before
    end = perf_counter()
    result["after_last_window_s"] = end - network.last_end
    result["total_s"] = end - start
    result["outside_network_s"] = end - start - network.seconds
    return result


def overhead(
    bundle: str, scan: str, backend: str, precision: str, overlap: float, repeats: int
) -> dict[str, Any]:
    """The engine, MONAI's sliding window and the bare forward passes in turn, on one open network."""
    import torch
    from monai.inferers import sliding_window_inference

    from medseg import read
    from medseg.inference import Member, open_backend, segment
    from medseg.models import load_model
    from medseg.preprocess import prepare

    model = load_model(bundle)
    network = Timed(open_backend(model, backend=backend, device=_device(backend), precision=precision))
    volume = read(scan)
    prepared = prepare(volume, model.plan)
    patches = windows_of(prepared.data, model.plan.patch, overlap)
    data = torch.from_numpy(prepared.data)[None]
    network(patches[0])  # the first pass plans its memory

    def predictor(windows: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(network(windows.numpy()))

    rounds: list[dict[str, float]] = []
    for _ in range(repeats):
        taken: dict[str, float] = {}
        network.reset()
        start, busy = perf_counter(), process_time()
        found = segment(volume, [Member(model.plan, network)], overlap=overlap)
        taken["ours_s"], taken["ours_cpu_s"] = perf_counter() - start, process_time() - busy
        taken["ours_inside_s"] = network.seconds
        _expect(network.windows, len(patches))
        busy = process_time()
        taken["bare_s"] = bare_seconds(network, patches)
        taken["bare_cpu_s"] = process_time() - busy
        network.reset()
        start, busy = perf_counter(), process_time()
        logits = sliding_window_inference(
            data, model.plan.patch, 1, predictor, overlap=overlap, mode="gaussian"
        )
        labels = logits.argmax(1)[0].numpy()
        taken["monai_s"], taken["monai_cpu_s"] = perf_counter() - start, process_time() - busy
        taken["monai_inside_s"] = network.seconds
        monai_windows = network.windows
        del logits
        rounds.append(taken)
    median = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
    classes = np.array(model.plan.class_ids)
    return {
        **median,
        "ours_over_bare": statistics.median(r["ours_s"] / r["bare_s"] for r in rounds),
        "ours_over_inside": statistics.median(r["ours_s"] / r["ours_inside_s"] for r in rounds),
        "monai_over_bare": statistics.median(r["monai_s"] / r["bare_s"] for r in rounds),
        "monai_over_inside": statistics.median(r["monai_s"] / r["monai_inside_s"] for r in rounds),
        "windows": len(patches),
        "monai_windows": monai_windows,
        "voxels_differing": float((classes[labels] != found.ids).mean()),
        "rounds": rounds,
        "backend": dict(network.settings),
    }


def forward(
    bundle: str, backend: str = "openvino", precision: str = "f32", passes: int = 5
) -> dict[str, Any]:
    """Median seconds of one forward pass of one patch."""
    from medseg.inference import open_backend
    from medseg.models import load_model

    model = load_model(bundle)
    network = open_backend(model, backend=backend, device=_device(backend), precision=precision)
    patch = np.random.default_rng(0).normal(size=(1, 1, *model.plan.patch)).astype(np.float32)
    network(patch)
    return {"forward_s": statistics.median(bare_seconds(network, [patch]) for _ in range(passes))}


def compare(first: str, second: str) -> dict[str, Any]:
    """How far two label files differ: share of voxels, and the mean Dice over the labels of either."""
    import nibabel

    a = np.asarray(nibabel.load(first).dataobj).ravel()
    b = np.asarray(nibabel.load(second).dataobj).ravel()
    size = int(max(a.max(), b.max())) + 1
    counts_a, counts_b = np.bincount(a, minlength=size), np.bincount(b, minlength=size)
    both = np.bincount(a[a == b], minlength=size)
    either = np.flatnonzero(counts_a + counts_b)
    either = either[either > 0]
    dice = 2 * both[either] / (counts_a + counts_b)[either]
    return {
        "voxels": int(a.size),
        "voxels_differing": float((a != b).mean()),
        "mean_dice": float(dice.mean()) if dice.size else None,
        "least_dice": float(dice.min()) if dice.size else None,
        "labels": int(either.size),
    }


def floor_of_files(
    bundle: str, scans: Sequence[str], backend: str, precision: str, overlap: float
) -> dict[str, Any]:
    """The bare forward passes of every window of many scans."""
    from medseg import read
    from medseg.inference import open_backend
    from medseg.models import load_model
    from medseg.preprocess import prepare

    model = load_model(bundle)
    network = open_backend(model, backend=backend, device=_device(backend), precision=precision)
    patches = [
        patch
        for scan in scans
        for patch in windows_of(prepare(read(scan), model.plan).data, model.plan.patch, overlap)
    ]
    network(patches[0])
    seconds = [bare_seconds(network, patches) for _ in range(3)]
    return {"bare_s": min(seconds), "windows": len(patches)}


def files(bundle: str, scans: Sequence[str], out: str, backend: str, precision: str) -> dict[str, Any]:
    """Many scans, files in to files out, by one call of `medseg.infer_files`."""
    from medseg.pipeline import infer_files, open_model

    start = perf_counter()
    model = open_model(bundle, backend=backend, device=_device(backend), precision=precision)
    opened = perf_counter()
    report = infer_files(scans, model=model, out=out, overwrite=True)
    end = perf_counter()
    _expect(len(list(Path(out).glob("*_seg.nii.gz"))), len(scans))
    _expect(len(report.cases), len(scans))
    return {"open_s": opened - start, "files_s": end - opened}


def for_nnunet(bundle: str, weights: str) -> dict[str, Any]:
    """Write a bundle's weights as .npz, and describe its network as `with_nnunet.make_folder` takes it."""
    from medseg.models import load_model

    model = load_model(bundle)
    np.savez(weights, **model.weights())
    plan = model.plan
    return {
        "network": {
            "features": plan.network.features,
            "strides": plan.network.strides,
            "patch": plan.patch,
            "labels": {"background": 0, **{f"label{n}": n for n in range(1, len(plan.class_ids))}},
            "spacing_mm": plan.grid.spacing_mm or (1.0, 1.0, 1.0),
            "channel": plan.channels[0].name,
        }
    }


def _device(backend: str) -> str:
    return "cpu" if backend == "openvino" else "auto"


def _expect(found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"{found} where {expected} were expected: this run measured something else")


if __name__ == "__main__":
    answer(
        {
            "prepare_files": prepare_files,
            "case": case,
            "overhead": overhead,
            "forward": forward,
            "compare": compare,
            "floor_of_files": floor_of_files,
            "files": files,
            "for_nnunet": for_nnunet,
        }
    )
