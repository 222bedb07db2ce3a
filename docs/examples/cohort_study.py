"""A whole study: segment and measure a cohort, compare with references and between groups, make a page.

    python docs/examples/cohort_study.py cases.csv hippocampus study

``cases.csv`` has the columns case_id, image, reference, and a group and covariates of your own.
"""

import sys

import medseg
from medseg.evaluation import compare_groups


def main(manifest: str, model: str, folder: str) -> None:
    study = medseg.run_cohort(manifest, model, folder)  # run it again, and it does what is still missing
    print(study.counts)
    for case in study.failures:
        print("no result:", case.case_id, case.verdict.codes[0])

    scores = study.evaluate(metrics=["dice", "surface_dice", "hd95"])
    for label in scores.summary:
        print(f"{label['name']}: Dice {label['dice']['mean']:.3f} in {label['dice']['n']} cases")

    table = study.table()  # a row per case and label; pandas
    for name, volumes in table[table.kind == "label"].groupby("label"):
        found = compare_groups(volumes, "volume_ml", "group", ["age"], unit="mL")
        print(f"{name}: {found.text}")

    print(study.report(group="group", covariates=["age"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
