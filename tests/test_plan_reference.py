"""The reference of a plan's keys and the schema in configs/ are those of the plan as it is."""

from __future__ import annotations

import json

from medseg.cli.app import main
from medseg.plans import Plan
from medseg.plans.recipes import recipe_folder
from scripts.make_plan_reference import REFERENCE, SCHEMA, reference, schema_text, sections


def test_the_files_are_what_the_script_makes_of_the_plan() -> None:
    cure = "a key has changed: run scripts/make_plan_reference.py"
    assert REFERENCE.read_text(encoding="utf-8") == reference(), cure
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), cure
    assert SCHEMA.parent == recipe_folder()


def test_every_key_says_what_it_means() -> None:
    schema = Plan.model_json_schema()
    silent = [
        f"{section.place}.{name}"
        for section in sections(schema, schema["$defs"])
        for name, key in section.keys.items()
        if "const" not in key and not key.get("description", "").strip()
    ]
    assert not silent


def test_the_page_has_keys_of_every_depth_with_their_ranges() -> None:
    rows = dict(
        line.removeprefix("| `").split("` | ", 1) for line in reference().splitlines() if line[:3] == "| `"
    )
    whole = "whole number | planned | 1 or more | "
    assert rows["sampling.batch_size"].startswith(whole)
    assert rows["inference.overlap"].startswith("number | `0.5` | 0 or more, below 1 | ")
    assert rows["augmentation.scale"].startswith("list of 2 numbers | `[0.85, 1.18]` | ")
    assert rows["labels[].id"].startswith("whole number | must be given | 1 to 65535 | ")
    assert rows["inference.crop.top_mm"].startswith("number or null | `null` | above 0 | ")
    assert rows["optimiser.name"].startswith('choice | `"adamw"` | `adamw`, `sgd` | ')
    assert "synthesis.contrasts.NAME.priors.NUMBER.mean" in rows


def test_recipes_and_schema_are_told_without_a_dataset(capsys) -> None:
    assert main(["train", "--recipes"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"fast", "standard", "large", "2d", "few-shot", "imbalanced"} <= set(listed)
    assert main(["plan", "--schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    assert json.loads(schema_text())["properties"]["name"]["type"] == "string"
