"""A GPU: share of the bare forward throughput, and peak memory at 105 classes."""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import Any

from inference_speed import child
from inference_speed.child import answer
from inference_speed.experiments import OVERLAP
from inference_speed.networks import usual, windows_of
from inference_speed.report import gb, save, table
from inference_speed.settings import Settings


def gpu(settings: Settings, repeats: int) -> str:
    """The engine on CUDA against forward passes of windows that are on the device already."""
    available = child.run("gpu", "probe")
    if available["why_not"] is not None:
        return f"Not measured: {available['why_not']}."
    side = 64 if settings.quick else 256
    patch = 32 if settings.quick else 128
    big = (72, 64, 56) if settings.quick else (512, 512, 400)
    rows, results = [], []
    for classes, shape in ((3, (side, side, side)), (105, big)):
        [bundle], [scan] = settings.prepared([usual(patch, classes)], [shape])
        for precision in ("f16", "bf16", "f32"):
            found = child.run(
                "gpu", "case", bundle=bundle, scan=scan, precision=precision, repeats=repeats,
                monai=4 * classes * shape[0] * shape[1] * shape[2] < 60e9,
            )  # fmt: skip
            rows.append(
                [
                    f"{'x'.join(map(str, shape))}, {classes} classes, {precision}", found["windows"],
                    found["bare_s"], found["ours_s"], found["bare_s"] / found["ours_s"],
                    gb(found["ours_device_bytes"]), gb(found["predicted_device_bytes"]),
                    found["monai_s"],
                    None if found["monai_s"] is None else found["bare_s"] / found["monai_s"],
                    gb(found["monai_device_bytes"]),
                ]
            )  # fmt: skip
            results.append({"classes": classes, "shape": shape, **found})
            print(rows[-1], flush=True)
    save(settings.out, "gpu", {"device": available["device"], "runs": results})
    head = [
        f"{available['device']}, patch {patch}", "windows", "bare forward s", "medseg s", "bare / medseg",
        "GPU GB", "predicted GPU GB", "MONAI s", "bare / MONAI", "MONAI's GPU GB",
    ]  # fmt: skip
    return table(head, rows)


def probe() -> dict[str, Any]:
    """Whether torch can use a GPU here, and which."""
    try:
        import torch
    except ImportError:
        return {"why_not": "torch is not installed", "device": None}
    if not torch.cuda.is_available():
        return {"why_not": f"torch {torch.__version__} finds no CUDA device here", "device": None}
    return {"why_not": None, "device": torch.cuda.get_device_name()}


def case(bundle: str, scan: str, precision: str, repeats: int, monai: bool) -> dict[str, Any]:
    """The engine, MONAI's sliding window (stitched on the device), and bare passes in turn."""
    import torch
    from monai.inferers import sliding_window_inference

    from medseg import read
    from medseg.inference import Member, open_backend, segment
    from medseg.models import load_model
    from medseg.networks import build_network, load_tensors
    from medseg.preprocess import prepare

    model = load_model(bundle)
    backend = open_backend(model, backend="torch", device="cuda", precision=precision)
    network = build_network(model.plan).eval()
    load_tensors(network, model.weights())
    network = network.to("cuda", memory_format=torch.channels_last_3d)
    kind = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[precision]
    volume = read(scan)
    data = prepare(volume, model.plan).data
    windows = windows_of(data, model.plan.patch, OVERLAP)
    size = backend.batch_size
    groups = [
        torch.cat([torch.from_numpy(w) for w in windows[n : n + size]]).pin_memory()
        for n in range(0, len(windows), size)
    ]

    def forward(batch: torch.Tensor) -> torch.Tensor:
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast("cuda", kind, enabled=kind != torch.float32),
        ):
            return network(batch.contiguous(memory_format=torch.channels_last_3d))  # type: ignore[no-any-return]

    def bare() -> float:
        on_device = groups[0].to("cuda")
        torch.cuda.synchronize()
        start = perf_counter()
        for group in groups:
            forward(on_device[: len(group)])
        torch.cuda.synchronize()
        return perf_counter() - start

    def with_monai() -> float:
        start = perf_counter()
        image = torch.from_numpy(data)[None].to("cuda")
        logits = sliding_window_inference(
            image, model.plan.patch, size, lambda x: forward(x).float(), overlap=OVERLAP, mode="gaussian"
        )
        logits.argmax(1).to(torch.uint8).cpu()
        return perf_counter() - start

    taken: dict[str, list[float]] = {"bare": [], "ours": [], "monai": []}
    peaks = {"ours": 0, "monai": 0}
    for number in range(repeats + 1):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        start = perf_counter()
        found = segment(volume, [Member(model.plan, backend)], overlap=OVERLAP)
        ours = perf_counter() - start
        peaks["ours"] = torch.cuda.max_memory_allocated()
        floor = bare()
        theirs = None
        if monai:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            theirs = with_monai()
            peaks["monai"] = torch.cuda.max_memory_allocated()
        if number:
            taken["ours"].append(ours)
            taken["bare"].append(floor)
            taken["monai"] += [] if theirs is None else [theirs]
    return {
        "windows": len(windows),
        "batch_size": size,
        "ours_s": statistics.median(taken["ours"]),
        "bare_s": statistics.median(taken["bare"]),
        "monai_s": statistics.median(taken["monai"]) if monai else None,
        "ours_device_bytes": peaks["ours"],
        "monai_device_bytes": peaks["monai"] if monai else None,
        "predicted_device_bytes": found.memory.device_bytes,
        "place": found.memory.place,
        "sums": found.memory.sums,
        "notes": list(found.notes),
        "rounds": taken,
    }


if __name__ == "__main__":
    answer({"probe": probe, "case": case})
