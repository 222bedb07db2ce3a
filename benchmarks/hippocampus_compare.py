"""The built-in hippocampus model against the plain baseline, on the 40 held-back cases.

Runs the model through ``medseg.infer`` as users do, takes Dice with nibabel and numpy alone, and gives
the paired gain over the baseline's cases with its 95 % BCa bootstrap interval.

    python benchmarks/hippocampus_baseline.py DATASET baseline.json
    python benchmarks/hippocampus_compare.py DATASET baseline.json [-m MODEL]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np

import medseg
from medseg.evaluation.statistics import paired_gain


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("baseline", type=Path, help="what hippocampus_baseline.py wrote")
    parser.add_argument("-m", "--model", default="hippocampus")
    parser.add_argument("--tta", action="store_true", help="average over left-right flips, as infer --tta")
    parser.add_argument("--out", type=Path, help="Dice per case as JSON")
    args = parser.parse_args()

    baseline = json.loads(args.baseline.read_text(encoding="utf-8"))
    model = medseg.load_model(args.model)
    labels = sorted((args.dataset / "labelsTr").glob("*.nii.gz"))
    held_back = [path for number, path in enumerate(labels, start=1) if number % 5 == 0]
    ours = {
        path.name.removesuffix(".nii.gz"): dice(args.dataset / "imagesTr" / path.name, path, model, args.tta)
        for path in held_back
    }
    if set(ours) != set(baseline["dice"]):
        raise SystemExit("the baseline was scored on other cases")
    table = np.array(list(ours.values()))
    means = table.mean(axis=1)
    gain = paired_gain(means.tolist(), [baseline["dice"][case] for case in ours])
    print(f"{len(ours)} held-back cases, Dice on the scans' own grids")
    print(f"built-in model {model.name}: mean {means.mean():.4f} (sd over cases {means.std(ddof=1):.4f})")
    for column, name in enumerate(model.label_set.names):
        print(f"  {name}: {table[:, column].mean():.4f}")
    print(f"plain baseline ({baseline['steps']} steps): mean {baseline['mean_dice']:.4f}")
    print(f"gain: {gain.mean:+.4f}, 95 % interval {gain.low:+.4f} to {gain.high:+.4f}")
    print(f"Wilcoxon p {gain.p_wilcoxon:.2g}")
    if args.out is not None:
        args.out.write_text(json.dumps(ours, indent=1), encoding="utf-8")


def dice(image: Path, label: Path, model: medseg.ModelBundle, tta: bool) -> list[float]:
    """Dice of each label of one case."""
    predicted = medseg.infer(image, model=model, tta=tta).labels.data
    reference = np.asarray(nib.load(label).dataobj)
    found = []
    for label_id in model.label_set.ids:
        ours, theirs = predicted == label_id, reference == label_id
        found.append(2 * float((ours & theirs).sum()) / float(ours.sum() + theirs.sum()))
    return found


if __name__ == "__main__":
    main()
