"""Engine, memory and export: what medseg costs beside its network, and beside MONAI and nnU-Net."""

from __future__ import annotations

import statistics
from typing import Any

from inference_speed import child
from inference_speed.networks import Net, planned, tiny, usual
from inference_speed.report import gb, save, table
from inference_speed.settings import Settings

OVERLAP = 0.5


def overhead(settings: Settings, repeats: int, backends: list[str], patches: list[int], slow: bool) -> str:
    """Wall time over the bare forward passes of the same windows, 3 classes; MONAI's beside it.

    ``slow`` adds the network of 30 million weights, whose passes take minutes on two cores.
    """
    side = 24 if settings.quick else 256
    nets = [tiny(16, 3)] if settings.quick else [planned(patch) for patch in patches]
    if slow:
        nets.append(usual(128))
    bundles, [scan] = settings.prepared(nets, [(side, side, side)])
    rows, results = [], []
    for net, bundle in zip(nets, bundles, strict=True):
        for backend in backends:
            found = child.run(
                "ours", "overhead", bundle=bundle, scan=scan, backend=backend, precision="f32",
                overlap=OVERLAP, repeats=repeats,
            )  # fmt: skip
            name = f"{net.name} {max(net.features)} features, patch {net.patch}, {backend}"
            rows += overhead_rows(name, found)
            results.append({"net": net.name, "patch": net.patch, **found})
            print(*rows[-2:], sep="\n", flush=True)
        folder = settings.nnunet_folder(bundle) if net is nets[0] else None
        if folder is not None:
            theirs = settings.nnunet_run(
                "case", folder=folder, scan=scan, out=settings.label_file("nnunet"), threads=_threads()
            )
            whole = theirs["stitched_after_s"]
            ratio = whole / theirs["forward_s"]
            rows.append([f"nnU-Net: {net.name}, torch", theirs["windows"], None, whole, None, ratio, None])
            results.append({"net": net.name, "tool": "nnU-Net", "over_inside": ratio, **theirs})
    save(settings.out, "overhead", {"side": side, "repeats": repeats, "runs": results})
    head = [
        f"{side}^3, 3 classes, overlap {OVERLAP}", "windows", "bare forward s", "s", "s / bare forward s",
        "s / forward s within", "processor s / bare forward's",
    ]  # fmt: skip
    return table(head, rows)


def overhead_rows(name: str, found: dict[str, Any]) -> list[list[object]]:
    """medseg and MONAI: against the bare passes, and against the seconds inside the network in the same run.

    The second ratio is the steadier where other programs run: they slow both of its sides alike.
    """
    rows: list[list[object]] = []
    for tool, key in (("medseg", "ours"), ("MONAI", "monai")):
        ratios = [found[f"{key}_over_bare"], found[f"{key}_over_inside"]]
        ratios.append(found[f"{key}_cpu_s"] / found["bare_cpu_s"])
        rows.append([f"{tool}: {name}", found["windows"], found["bare_s"], found[f"{key}_s"], *ratios])
    return rows


def memory(settings: Settings, grids: list[str], patches: list[int]) -> str:
    """105 classes on 512 x 512 x 400, limit 4 GB: peak, prediction, time, and what f16 sums change."""
    shape = (72, 64, 56) if settings.quick else (512, 512, 400)
    classes, small, large = (12, 16, 32) if settings.quick else (105, 64, 128)
    limit = 4_000_000_000
    rows = []
    for grid in grids:
        spacing = None if grid == "equal" else 1.5
        nets = [tiny(small, classes, spacing), tiny(large, classes, spacing)]
        [first, second], [scan] = settings.prepared(nets, [shape])
        runs = [(first, small, "f32", limit), (second, large, "f32", limit), (second, large, "f16", None)]
        if spacing is not None:  # fewer windows, so that there is time to see that the disk changes nothing
            runs.append((second, large, "f32", None))
        exact = settings.label_file(f"memory-{large}-{grid}-f32-{limit}")
        for bundle, patch, sums, allowed in runs:
            if patch not in patches and not settings.quick:
                continue
            out = settings.label_file(f"memory-{patch}-{grid}-{sums}-{allowed}")
            found = child.run(
                "ours", "case", bundle=bundle, scan=scan, out=out, sums=sums, max_memory=allowed,
                scratch=str(settings.work),
            )  # fmt: skip
            apart = None
            if patch == large and out != exact:
                apart = child.run("ours", "compare", first=exact, second=out)
            rows.append(
                [
                    f"{grid} grids, patch {patch}, {found['sums']} in {found['place']}",
                    gb(allowed), gb(found["peak_bytes"]), gb(found["predicted_bytes"]),
                    found["predicted_bytes"] / found["engine_peak_bytes"],
                    found["total_s"], found["forward_s"],
                    None if apart is None else apart["voxels_differing"],
                    None if apart is None else apart["mean_dice"],
                ]
            )  # fmt: skip
            save(
                settings.out, "memory",
                {"shape": shape, "classes": classes, "patch": patch, "grid": grid, "limit": allowed,
                 "apart": apart, **found},
            )  # fmt: skip
            print(rows[-1], flush=True)
    head = [
        f"{'x'.join(map(str, shape))}, {classes} classes", "limit GB", "peak GB", "predicted GB",
        "predicted / peak", "file to file s", "of it forward s", "voxels that differ", "mean Dice",
    ]  # fmt: skip
    return table(head, rows)


def export(settings: Settings, sides: list[int], large: bool) -> str:
    """From the last window to the file on disk, as a share of a real-sized network's forward time.

    The tools run a network of next to no cost; the forward time of the real one (32 to 320 features, as
    many classes) is that of a few passes times the number of windows. ``large`` adds the case of 512 x 512
    x 400, for which the others have no memory.
    """
    classes = 12 if settings.quick else 105
    patch = 16 if settings.quick else 128
    shapes = [(side, side, side) for side in sides] + ([(512, 512, 400)] if large else [])
    real, one = _real_forward(settings, patch, classes)
    rows, results = [], []
    for shape in shapes:
        for spacing in (None, 1.5):
            [bundle], [scan] = settings.prepared([tiny(patch, classes, spacing)], [shape])
            folder = settings.nnunet_folder(bundle) if max(shape) < 300 else None
            out = {tool: settings.label_file(f"export-{tool}") for tool in ("medseg", "MONAI", "nnU-Net")}
            found = {"medseg": child.run("ours", "case", bundle=bundle, scan=scan, out=out["medseg"])}
            if max(shape) < 300:
                found["MONAI"] = child.run(
                    "with_monai", "case", bundle=bundle, scan=scan, out=out["MONAI"], backend="openvino"
                )
            if folder is not None:
                found["nnU-Net"] = settings.nnunet_run(
                    "case", folder=folder, scan=scan, out=out["nnU-Net"], threads=_threads()
                )
            for tool, run in found.items():
                forward_s = run["windows"] * one
                grid = "equal grids" if spacing is None else f"grid {spacing}x coarser"
                rows.append(
                    [
                        f"{'x'.join(map(str, shape))}, {grid}: {tool}", run["windows"], gb(run["peak_bytes"]),
                        run["after_last_window_s"], run["outside_network_s"], forward_s,
                        100 * run["after_last_window_s"] / forward_s,
                        100 * run["outside_network_s"] / forward_s,
                    ]
                )  # fmt: skip
                results.append({"shape": shape, "spacing": spacing, "tool": tool, "real_s": forward_s, **run})
                print(rows[-1], flush=True)
    save(settings.out, "export", {"real_network": real.name, "real_forward_s": one, "runs": results})
    head = [
        f"{classes} classes, patch {patch}", "windows", "peak GB", "after the last window s",
        "outside the network s", "a real network's forward s", "after / forward %", "outside / forward %",
    ]  # fmt: skip
    return table(head, rows)


def _real_forward(settings: Settings, patch: int, classes: int) -> tuple[Net, float]:
    """The real-sized network and the seconds of one pass, by OpenVINO in float32."""
    real = usual(patch, classes)
    [bundle], _ = settings.prepared([real], [])
    return real, float(child.run("ours", "forward", bundle=bundle)["forward_s"])


def growth(settings: Settings, plot: Any) -> str:
    """Time and peak memory from 64^3 to 512^3 voxels, and from 2 to 200 classes."""
    from inference_speed.report import exponent, growth_plot

    patch = 16 if settings.quick else 64
    sides = (24, 32, 48) if settings.quick else (64, 96, 128, 192, 256, 384, 512)
    counts = (2, 5, 12) if settings.quick else (2, 5, 10, 20, 50, 105, 200)
    few, middle = (3, 32) if settings.quick else (10, 192)
    runs: dict[str, list[dict[str, Any]]] = {"size": [], "classes": []}
    for kind, pairs in (
        ("size", [(side, few) for side in sides]),
        ("classes", [(middle, count) for count in counts]),
    ):
        for side, count in pairs:
            [bundle], [scan] = settings.prepared([tiny(patch, count)], [(side, side, side)])
            found = [
                child.run("ours", "case", bundle=bundle, scan=scan) for _ in range(3 if side < 200 else 1)
            ]
            run = {key: _median(found, key) for key in found[0]}
            runs[kind].append({"voxels": side**3, "side": side, "classes": count, **run})
            print(kind, side, count, run["segment_s"], gb(run["engine_peak_bytes"]), flush=True)
    growth_plot(plot, runs["size"], runs["classes"])
    exponents = {}
    for kind, against in (("size", "voxels"), ("classes", "classes")):
        x = [run[against] for run in runs[kind]]
        outside = [run["segment_s"] - run["forward_s"] for run in runs[kind]]
        exponents[kind] = {
            "time": exponent(x, [run["segment_s"] for run in runs[kind]]),
            "forward": exponent(x, [run["forward_s"] for run in runs[kind]]),
            "outside": exponent(x, outside),
            "memory": exponent(x, [run["engine_peak_bytes"] for run in runs[kind]]),
        }
    save(settings.out, "growth", {"runs": runs, "exponents": exponents})
    rows = [
        [
            f"{run['side']}^3, {run['classes']} classes", run["segment_s"], run["forward_s"],
            run["segment_s"] - run["forward_s"], gb(run["engine_peak_bytes"]), gb(run["predicted_bytes"]),
        ]
        for kind in ("size", "classes")
        for run in runs[kind]
    ]  # fmt: skip
    rows += [
        [f"exponent in the number of {against}", e["time"], e["forward"], e["outside"], e["memory"], None]
        for against, e in (("voxels", exponents["size"]), ("classes", exponents["classes"]))
    ]
    head = ["scan", "engine s", "forward s", "everything else s", "peak GB", "predicted GB"]
    return table(head, rows)


def _median(runs: list[dict[str, Any]], key: str) -> Any:
    values = [run[key] for run in runs]
    return statistics.median(values) if isinstance(values[0], int | float) else values[0]


def _threads() -> int:
    from medseg.inference.backends import usable_processors

    return usable_processors()
