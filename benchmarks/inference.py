"""How fast medseg's inference engine is, and what memory it takes, beside MONAI and nnU-Net.

    python benchmarks/inference.py overhead        wall time over the bare forward passes; MONAI's
    python benchmarks/inference.py memory          105 classes on 512 x 512 x 400
    python benchmarks/inference.py export          from the last window to the file; MONAI's, nnU-Net's
    python benchmarks/inference.py backends        OpenVINO against torch on the CPU
    python benchmarks/inference.py throughput      100 scans in one process; nnU-Net on 20
    python benchmarks/inference.py growth          time and memory against voxels and classes; a plot
    python benchmarks/inference.py gpu             where there is one

Each prints a Markdown table and appends its figures to OUT/<name>.jsonl. Every measured run has a process of
its own, so that its peak memory is its own. All tools run the same weights, patches and overlap. ``--quick``
takes sizes so small that the figures mean nothing: it shows that the command works.

nnU-Net needs an environment of its own, for it pins other versions and asks for torchvision:

    python3.11 -m venv nnunet_env
    nnunet_env/bin/pip install -c constraints.txt torch numpy scipy SimpleITK nibabel pandas scikit-image \
        scikit-learn matplotlib tqdm tifffile requests threadpoolctl connected-components-3d einops blosc2 \
        seaborn future unittest2
    nnunet_env/bin/pip install --no-deps nnunetv2 dynamic-network-architectures acvl-utils batchgenerators \
        batchgeneratorsv2

and is then measured with ``--nnunet-python nnunet_env/bin/python``; without, it is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

TEMPORARY = Path(tempfile.gettempdir()) / "medseg_inference"
HERE = Path(__file__).resolve().parent
# This script's folder and the checkout, for the parts below and for medseg itself where it is not installed.
sys.path[:0] = [str(HERE), str(HERE.parent)]

from inference_speed import experiments, gpu, processor, throughput  # noqa: E402
from inference_speed.settings import Settings  # noqa: E402


def main() -> None:
    """Parse, run one experiment, print its table."""
    arguments = parser().parse_args()
    settings = Settings(
        work=arguments.work.resolve(),
        out=arguments.out,
        # Not resolved: an environment's python is a link, and is told apart by where the link lies.
        nnunet=None if arguments.nnunet_python is None else arguments.nnunet_python.absolute(),
        data=arguments.data,
        quick=arguments.quick,
    )
    quick = arguments.quick
    match arguments.experiment:
        case "overhead":
            text = experiments.overhead(
                settings,
                1 if quick else arguments.repeats,
                arguments.backends,
                arguments.patches,
                arguments.slow,
            )
        case "memory":
            text = experiments.memory(settings, arguments.grids, arguments.patches)
        case "export":
            text = experiments.export(
                settings, [40] if quick else arguments.sides, not quick and arguments.large
            )
        case "backends":
            text = processor.backends(settings, 2 if quick else 20, 2 if quick else arguments.repeats)
        case "throughput":
            scans, against = (4, 2) if quick else (100, 20)
            text = throughput.throughput(settings, scans, against, 1 if quick else arguments.repeats)
        case "growth":
            text = experiments.growth(settings, arguments.plot or settings.out / "growth.png")
        case _:
            text = gpu.gpu(settings, 1 if quick else arguments.repeats)
    print(f"\n{text}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--work", type=Path, default=TEMPORARY, help="bundles, scans, label files")
    common.add_argument("--out", type=Path, default=TEMPORARY / "results", help="where the JSON goes")
    common.add_argument("--nnunet-python", type=Path, help="Python of an environment with nnunetv2")
    common.add_argument(
        "--data", type=Path, default=HERE.parents[1] / "shared" / "data", help="real scans (hippocampus/)"
    )
    common.add_argument("--repeats", type=int, default=3, help="rounds, of which the median counts")
    common.add_argument("--quick", action="store_true", help="tiny sizes: to see that it runs")
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="experiment", required=True)
    for name in ("overhead", "memory", "export", "backends", "throughput", "growth", "gpu"):
        command = commands.add_parser(name, parents=[common])
        if name in ("overhead", "memory"):
            command.add_argument("--patches", type=int, nargs="+", choices=[64, 128], default=[128, 64])
        if name == "overhead":
            both = ["torch", "openvino"]
            command.add_argument("--backends", nargs="+", choices=both, default=both)
            command.add_argument("--slow", action="store_true", help="also the network of 30 million weights")
        if name == "memory":
            grids = ["equal", "coarser"]
            command.add_argument("--grids", nargs="+", choices=grids, default=grids)
        if name == "export":
            command.add_argument(
                "--sides", type=int, nargs="+", default=[208], help="cubes for all three tools"
            )
            command.add_argument("--large", action="store_true", help="also 512x512x400, medseg alone")
        if name == "growth":
            command.add_argument("--plot", type=Path, help="where the picture goes")
    return top


if __name__ == "__main__":
    main()
