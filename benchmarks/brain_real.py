"""The built-in brain model on the ICBM 152 template that nilearn packages, against its tissue maps.

The reference is where the grey (white) matter map is above a half. Grey matter is the cortex of cerebrum and
cerebellum and the deep nuclei; white matter that of cerebrum and cerebellum, with brain-stem and ventral DC.
The maps call the pallidum, and half of the thalamus, white; no grouping of structures is theirs exactly.

    python benchmarks/brain_real.py OUT [-m MODEL]

writes the segmentation and a picture in three planes under OUT and prints both Dice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import nilearn
import numpy as np

from medseg.pipeline import infer_files

DATA = Path(nilearn.__file__).parent / "datasets" / "data"
WHITE = (2, 41, 7, 46, 16, 28, 60)
GREY = (3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("-m", "--model", default="brain")
    args = parser.parse_args()
    template = DATA / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    report = infer_files([template], model=args.model, out=args.out, preview=True, overwrite=True)
    case = report.cases[0]
    found = np.asarray(nib.load(case["segmentation"]).dataobj)
    print(case["verdict"], [reason["code"] for reason in case["reasons"]], case["timings_s"]["total"], "s")
    for name, kind, ids in (("grey", "gm", GREY), ("white", "wm", WHITE)):
        share = nib.load(DATA / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz")
        values = np.asarray(share.dataobj, dtype=np.float64)
        truth, ours = values > 0.5 * values.max(), np.isin(found, ids)
        print(f"{name} matter: Dice {2 * (truth & ours).sum() / (truth.sum() + ours.sum()):.4f}")
    for total in case["totals"]:
        print(f"{total['name']}: {total['volume_ml']:.0f} mL")


if __name__ == "__main__":
    main()
