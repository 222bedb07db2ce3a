"""Every shipped recipe: laid over what is proposed for a dataset it makes a network; editors know it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from PIL import Image

from medseg.errors import PlanInvalid
from medseg.networks import build_network
from medseg.plans import Fingerprint, Plan
from medseg.plans.recipes import shipped_recipes
from medseg.plans.schema import recipe_schema
from medseg.training import plan as plan_of
from medseg.training.recipes import merged, read_recipe
from tests.label_map_data import WHOLE_HEAD, write_label_maps, write_priors, write_table

NAMES = tuple(shipped_recipes())
FOR_ANY_DATASET = ("2d", "fast", "few-shot", "imbalanced", "large", "standard")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten RGB pictures with two labels, not square."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for n in range(10):
        label = np.zeros((70, 96), np.uint8)
        label[10:30, 20:50], label[40:44, 60:66] = 7, 200
        Image.fromarray(label).save(folder / f"labels/{n}.png")
        colours = generator.integers(0, 256, (70, 96, 3), np.uint8)
        Image.fromarray(colours).save(folder / f"images/{n}.png")
    return folder


def laid_over_a_plan(name: str, dataset: Path, dimensions: int) -> Plan:
    """The recipe's plan, without what its own values left of the proposed ones."""
    recipe, plan = read_recipe(name), plan_of(dataset, config=name)
    assert plan.dimensions == recipe.get("dimensions", dimensions)
    kept = plan.model_dump(mode="json")
    for section, values in recipe.items():
        if section not in ("synthesis", "network") and isinstance(values, dict):
            assert kept[section] == merged(kept[section], values), section
    build_network(plan)
    assert isinstance(plan.fingerprint, Fingerprint)
    return plan


@pytest.mark.parametrize("name", FOR_ANY_DATASET)
def test_a_recipe_for_any_dataset_makes_a_network_in_three_and_in_two_dimensions(
    name: str, decathlon: Path, pictures: Path
) -> None:
    of_volumes = laid_over_a_plan(name, decathlon, 3)
    of_pictures = laid_over_a_plan(name, pictures, 2)
    assert of_volumes.name == decathlon.name
    assert (of_pictures.dimensions, len(of_pictures.channels)) == (2, 3)
    for plan in (of_volumes, of_pictures):  # as wide as the recipe says, as deep as the dataset allows
        first = read_recipe(name).get("network", {}).get("features")
        assert first is None or plan.network.features[:2] == (first, 2 * first)
        assert len(plan.network.features) == len(plan.network.strides)


def test_the_recipes_of_the_built_in_models_make_a_network(decathlon: Path, tmp_path: Path) -> None:
    write_label_maps(tmp_path)
    write_table(tmp_path, WHOLE_HEAD)
    write_priors(tmp_path, "t1", [(row[0], 10 * row[3], 1, 5, 1) for row in WHOLE_HEAD])
    assert set(NAMES) == {*FOR_ANY_DATASET, "brain", "hippocampus"}
    for name, dataset in (("hippocampus", decathlon), ("brain", tmp_path)):
        plan = laid_over_a_plan(name, dataset, 3)
        assert plan.name == name
        assert (plan.synthesis is not None) == (name == "brain")


@pytest.mark.parametrize("name", NAMES)
def test_an_editor_knows_every_key_of_a_recipe_and_finds_a_wrong_one(name: str) -> None:
    recipe = shipped_recipes()[name]
    assert recipe.text.startswith("# yaml-language-server: $schema=plan.schema.json\n")
    assert 20 < len(recipe.summary) < 115
    checker = jsonschema.Draft7Validator(recipe_schema())
    values = named(yaml.safe_load(recipe.text))
    assert list(checker.iter_errors(values)) == []
    wrong = merged(values, {"schedule": {"stepz": 1}, "loss": {"name": "dicee"}})
    found = {".".join(map(str, error.path)) for error in checker.iter_errors(wrong)}
    assert found == {"schedule", "loss.name"}


def test_the_schema_asks_of_a_lists_entries_what_a_plan_asks() -> None:
    checker = jsonschema.Draft7Validator(recipe_schema())
    assert checker.is_valid({})
    assert checker.is_valid({"inference": {"empty": {"channel": 0}}})  # laid over another rule
    assert not checker.is_valid({"labels": [{"id": 1}]})
    assert not checker.is_valid({"augmentation": {"scale": [1.0, 1.1, 1.2]}})
    assert checker.is_valid({"network": {"features": 24}})


@pytest.mark.parametrize(
    ("strides", "features"),
    [
        ([[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2]], (24, 48, 96, 192, 320)),
        ([[1, 1], *[[2, 2]] * 5], (24, 48, 96, 192, 384, 512)),
    ],
)
def test_one_number_of_features_doubles_from_stage_to_stage(
    strides: list[list[int]], features: tuple[int, ...]
) -> None:
    values: dict[str, Any] = {
        "name": "toy",
        "dimensions": len(strides[0]),
        "channels": [{"name": "a"}],
        "labels": [{"id": 1, "name": "b", "colour": (1, 2, 3)}],
        "patch": [32] * len(strides[0]),
        "network": {"features": 24, "strides": strides},
    }
    assert Plan.checked(values).network.features == features
    for wrong in (0, True, "24"):
        with pytest.raises(PlanInvalid, match=r"network\.features"):
            Plan.checked(merged(values, {"network": {"features": wrong}}))


def named(values: Any) -> Any:
    """Mappings as JSON has them, where every key is a text."""
    if isinstance(values, dict):
        return {str(key): named(value) for key, value in values.items()}
    return [named(value) for value in values] if isinstance(values, list) else values
