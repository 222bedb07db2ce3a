"""Many scans, files in to files out: against the bare forward passes, and against nnU-Net's command."""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

from inference_speed import child
from inference_speed.experiments import OVERLAP
from inference_speed.report import save, table
from inference_speed.settings import Settings

_MODEL = "hippocampus"


def throughput(settings: Settings, scans: int, against: int, rounds: int) -> str:
    """Share of the floor over ``scans`` scans; nnU-Net on ``against`` of them; one further scan's cost."""
    folder = settings.data / "hippocampus" / "imagesTr"
    images = sorted(folder.glob("*.nii.gz"))[:scans]
    if not images:
        return f"no scans in {folder}: give --data"
    rows: list[list[object]] = []
    results: dict[str, object] = {"scans": len(images), "against": against, "rounds": rounds}
    for backend, precision in (("openvino", "f32"), ("openvino", "bf16")):
        run_s, floors = [], []
        for _ in range(rounds):
            out = _fresh(settings.work / "throughput")
            ran = child.run(
                "ours", "files", bundle=_MODEL, scans=list(map(str, images)), out=str(out),
                backend=backend, precision=precision,
            )  # fmt: skip
            floor = child.run(
                "ours", "floor_of_files", bundle=_MODEL, scans=list(map(str, images)),
                backend=backend, precision=precision, overlap=OVERLAP,
            )  # fmt: skip
            run_s.append(ran["files_s"])
            floors.append(floor["bare_s"])
        # The least of each: what another program takes away in ten seconds is more than what is measured.
        share = 100 * min(floors) / min(run_s)
        rows.append(
            [f"{len(images)} scans, medseg, {backend} {precision}", min(run_s), min(floors), share, None]
        )
        results[f"{backend} {precision}"] = {"files_s": run_s, "bare_s": floors, "share": share}
        print(rows[-1], flush=True)
    rows += _against_nnunet(settings, images[:against], results)
    rows += _further_scans(settings, images, rounds, results)
    save(settings.out, "throughput", results)
    head = ["files in to files out", "s", "bare forward s", "% of the floor", "ratio"]
    return table(head, rows)


def _against_nnunet(settings: Settings, images: list[Path], results: dict[str, object]) -> list[list[object]]:
    """Process start to process end on the same scans with the same weights, without mirroring."""
    folder = settings.nnunet_folder(_MODEL)
    if folder is None:
        return []
    inputs = _fresh(settings.work / "nnunet-in")
    for image in images:
        shutil.copy(image, inputs / image.name.replace(".nii.gz", "_0000.nii.gz"))
    ours = _command(images, settings.work / "infer-out", "--precision", "f32")
    theirs = {}
    for workers in (3, 1):  # nnU-Net's own default, and fewer for a computer with two cores
        out = _fresh(settings.work / "nnunet-out")
        command = [
            str(Path(str(settings.nnunet)).with_name("nnUNetv2_predict_from_modelfolder")),
            "-i", str(inputs), "-o", str(out), "-m", folder, "-f", "0", "--disable_tta",
            "-device", "cpu", "-npp", str(workers), "-nps", str(workers), "--disable_progress_bar",
        ]  # fmt: skip
        theirs[workers] = child.wall_seconds(command)
        if len(list(out.glob("*.nii.gz"))) != len(images):
            raise child.RunFailed(f"nnU-Net wrote {len(list(out.glob('*.nii.gz')))} of {len(images)} files")
        print(f"nnU-Net, {workers} workers: {theirs[workers]:.1f} s", flush=True)
    walls = []
    for _ in range(3):
        _fresh(settings.work / "infer-out")
        walls.append(child.wall_seconds(ours))
    dice = [
        child.run(
            "ours", "compare", first=str(settings.work / "nnunet-out" / image.name),
            second=str(settings.work / "infer-out" / image.name.replace(".nii.gz", "_seg.nii.gz")),
        )["mean_dice"]
        for image in images
    ]  # fmt: skip
    mine, best = statistics.median(walls), min(theirs.values())
    results["nnunet"] = {"theirs_s": theirs, "ours_s": walls, "dice": dice}
    return [
        [f"{len(images)} scans, medseg infer, process start to end", mine, None, None, None],
        *(
            [f"{len(images)} scans, nnU-Net, {n} + {n} workers each", s, None, None, s / mine]
            for n, s in theirs.items()
        ),
        ["the faster of nnU-Net's / medseg's", None, None, None, best / mine],
        [f"mean Dice between the two: {statistics.mean(dice):.5f}", None, None, None, None],
    ]  # fmt: skip


def _further_scans(
    settings: Settings, images: list[Path], rounds: int, results: dict[str, object]
) -> list[list[object]]:
    """What one more scan costs in one call of ``medseg infer``, against ``import monai``."""
    one, many, imports = [], [], []
    for number in range(rounds + 1):
        taken = []
        for scans in (images[:1], images):
            out = _fresh(settings.work / "infer-out")
            taken.append(child.wall_seconds(_command(scans, out)))
        monai = child.wall_seconds([sys.executable, "-c", "import monai"])
        if number:  # the first round fills the file cache
            one.append(taken[0])
            many.append(taken[1])
            imports.append(monai)
    each = statistics.median((b - a) / max(1, len(images) - 1) for a, b in zip(one, many, strict=True))
    monai = statistics.median(imports)
    results["further"] = {"one_s": one, "many_s": many, "import_monai_s": imports, "each_s": each}
    return [
        [f"medseg infer, 1 scan / {len(images)} scans, process start to end",
         f"{statistics.median(one):.2f} / {statistics.median(many):.2f}", None, None, None],
        ["each further scan, and its ratio to `import monai`", each, None, None, each / monai],
        ["`import monai`", monai, None, None, None],
    ]  # fmt: skip


def _command(images: list[Path], out: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "medseg", "infer", *map(str, images), "-m", _MODEL, "-o", str(out),
        "--quiet", *options,
    ]  # fmt: skip


def _fresh(folder: Path) -> Path:
    """An empty folder under the work folder."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
