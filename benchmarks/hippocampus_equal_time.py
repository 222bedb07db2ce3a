"""Three trainings of the hippocampus task in equal time: medseg, plain MONAI, and nnU-Net's own trainer.

Each gets so many minutes of the clock, on the same machine, one after the other, seed by seed; then Dice on
every fifth case, which none of them read. medseg's minutes cover planning, preprocessing, scoring and export
too; MONAI's (``hippocampus_baseline.py``) and nnU-Net's (``hippocampus_nnunet.py``) cover training alone.

    python benchmarks/hippocampus_equal_time.py DATASET WORK --minutes 10 [--seeds 0 1 2] [--device cpu]
        [--nnunet-python ENV/bin/python] [--nnunet-batch 2] [--config fast] [--set network.features=16]

Every run that is over is a JSON file in WORK; the command goes on from there, and prints a Markdown table.
Without ``--nnunet-python``, an environment with nnunetv2, nnU-Net's row is left out; with ``--nnunet-batch``
there is a row more, in which its steps are of so many patches, which is faster on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--nnunet-python", type=Path)
    parser.add_argument("--nnunet-batch", type=int)
    parser.add_argument("--config", default="fast", help="recipe of medseg's runs")
    parser.add_argument("--set", nargs="*", default=[], help="key=value over the recipe")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tools = ["medseg", "MONAI"]
    if args.nnunet_python is not None:
        tools.append("nnU-Net")
        if args.nnunet_batch is not None:
            tools.append(f"nnU-Net, batch {args.nnunet_batch}")
    for seed in args.seeds:
        for tool in tools:
            out = result_of(args.work, tool, seed)
            if not out.is_file():
                print(f"{tool}, seed {seed}: {args.minutes:g} minutes", flush=True)
                train(tool, seed, out, args)
    print(table(args, tools))
    if args.nnunet_python is None:
        print("\nnnU-Net is left out: give --nnunet-python, a python of an environment that has nnunetv2")


def result_of(work: Path, tool: str, seed: int) -> Path:
    return work / f"{tool.replace(', batch ', '-b')}-{seed}.json"


def train(tool: str, seed: int, out: Path, args: argparse.Namespace) -> None:
    limits = ["--minutes", str(args.minutes), "--seed", str(seed), "--device", args.device]
    if tool == "MONAI":
        script = [sys.executable, HERE / "hippocampus_baseline.py", args.dataset, out]
        subprocess.run([*script, *limits, "--precision", precision(args.device)], check=True)
    elif tool.startswith("nnU-Net"):
        limits += [] if tool == "nnU-Net" else ["--batch", str(args.nnunet_batch)]
        script = [args.nnunet_python, HERE / "hippocampus_nnunet.py", args.dataset, args.work / "nnunet", out]
        subprocess.run([*script, *limits], check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    else:
        train_ours(seed, out, args)


def precision(device: str) -> str:
    """bfloat16 for all who can choose, where the device has it; else float32."""
    from medseg.training.devices import choose_device

    return "bf16" if choose_device(device).precision("auto").name == "bf16" else "f32"


def train_ours(seed: int, out: Path, args: argparse.Namespace) -> None:
    """By the command, as users do; scored through `medseg.infer`, without test-time augmentation."""
    from hippocampus_compare import dice

    import medseg

    run = args.work / f"medseg-{seed}"
    while run.exists():  # a run that was cut off begins anew: its minutes are over
        run = run.with_name(run.name + "-again")
    command = [sys.executable, "-m", "medseg.cli.app", "train", args.dataset, "-o", run, "-c", args.config]
    limits = ["--fold", "all", "--max-minutes", str(args.minutes), "--device", args.device, "--quiet"]
    values = [
        "hold_back_every=5",
        f"precision={precision(args.device)}",
        f"schedule.seed={seed}",
        "schedule.steps=1000000",
        *args.set,
    ]
    subprocess.run([*command, *limits, *values], check=True)
    model = medseg.load_model(run / "bundle")
    labels = sorted((args.dataset / "labelsTr").glob("*.nii.gz"))[4::5]
    found = {
        path.name.removesuffix(".nii.gz"): float(
            np.mean(dice(args.dataset / "imagesTr" / path.name, path, model, tta=False))
        )
        for path in labels
    }
    steps = sum(1 for _ in (run / "steps.csv").open(encoding="utf-8")) - 1
    text = json.dumps({"steps": steps, "minutes": args.minutes, "dice": found}, indent=1)
    out.write_text(text, encoding="utf-8")


def table(args: argparse.Namespace, tools: list[str]) -> str:
    """Mean Dice of the held-back cases: mean and spread over the seeds."""
    seeds = ", ".join(map(str, args.seeds))
    lines = [
        f"\n{args.minutes:g} minutes, {args.device}, {os.cpu_count()} cores, seeds {seeds}\n",
        "| trained by | steps | mean Dice | standard deviation over seeds | each seed |",
        "| --- | --- | --- | --- | --- |",
    ]
    for tool in tools:
        runs = [
            json.loads(result_of(args.work, tool, seed).read_text(encoding="utf-8")) for seed in args.seeds
        ]
        means = [float(np.mean(list(run["dice"].values()))) for run in runs]
        spread = f"{np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
        each = ", ".join(f"{mean:.4f}" for mean in means)
        steps = round(float(np.mean([run["steps"] for run in runs])))
        lines.append(f"| {tool} | {steps} | {np.mean(means):.4f} | {spread} | {each} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
