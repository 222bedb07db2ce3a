"""medseg.plan: what a dataset looks like, what follows from it, and what the user says over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medseg.datasets import Dataset, read_dataset
from medseg.errors import PlanInvalid
from medseg.inference.flips import flips_that_keep_sides
from medseg.plans import Plan
from medseg.training.devices import Device, choose_device
from medseg.training.empty_rule import check_empty_rule, propose_empty_rule
from medseg.training.fingerprint import take_fingerprint
from medseg.training.label_maps import fingerprint_of_maps, made_from_maps, synthesis_of
from medseg.training.outputs import proposed_outputs, with_ignore_label
from medseg.training.planner import propose, propose_synthesis, slicing
from medseg.training.recipes import merged, parse_overrides, read_recipe
from medseg.training.splits import set_aside

Progress = Callable[[str, int, int], None]


def plan(
    dataset: Path | str,
    *,
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> Plan:
    """Look at a dataset and decide on a model.

    Parameters
    ----------
    dataset
        A folder or list that `medseg.datasets.read_dataset` knows.
    config
        A recipe: the name of a shipped one or a YAML file. Its values go over the proposed ones.
    overrides
        ``key=value`` texts, dots between levels; they go over the recipe.
    device
        What the plan is for: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Its memory decides patch and batch.

    Raises
    ------
    NotFound, InputRefused
        If the dataset is not there or not sound.
    PlanInvalid
        If the recipe or an override does not fit.
    """
    layers = read_layers(config, overrides)
    return decide_plan(read_dataset(dataset), layers, choose_device(device), progress)


def read_layers(config: str | Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    """What the user gave: a recipe, and single values over it, each one that a plan can have."""
    recipe = read_recipe(config) if config is not None else {}
    given = parse_overrides(overrides)
    Plan.check_part(recipe, f"recipe {config}")
    Plan.check_part(given)
    return merged(recipe, given)


def decide_plan(dataset: Dataset, layers: dict[str, Any], device: Device, progress: Progress | None) -> Plan:
    """The plan that follows from a dataset, with what the user gave over it; held-back cases are not read."""
    kept, _ = set_aside(dataset.cases, hold_back_every(layers))
    dataset = with_ignore_label(dataset, layers)
    from_maps = made_from_maps(dataset)
    describe = fingerprint_of_maps if from_maps else take_fingerprint
    fingerprint, labels = describe(dataset, kept, progress)
    proposed = propose(
        fingerprint,
        labels,
        dataset.name,
        memory_bytes=device.memory_bytes,
        on_gpu=device.kind == "cuda",
        slice_axis=slicing(fingerprint, layers),
        network=layers.get("network"),
    )
    proposed = merged(proposed, proposed_outputs(dataset))
    if from_maps:
        proposed = merged(proposed, propose_synthesis(proposed, labels, synthesis_of(dataset)))
    the_plan = Plan.checked(merged(proposed, layers), "plan")
    given = layers.get("inference", {})
    if "mirror_axes" not in given:  # test-time augmentation flips only what training flips
        the_plan = _with_inference(the_plan, mirror_axes=the_plan.trained_flips)
    _refuse_unsafe_flips(the_plan)
    if from_maps:
        return the_plan
    if "empty" in given:
        check_empty_rule(the_plan, kept, progress)
        return the_plan
    return _with_inference(the_plan, empty=propose_empty_rule(the_plan, kept, progress))


def hold_back_every(layers: dict[str, Any]) -> int:
    """From what the user gave, before there is a plan: held-back cases are not read for it either."""
    every = layers.get("hold_back_every", 0)
    if not isinstance(every, int) or isinstance(every, bool) or every < 0:
        raise PlanInvalid(f"hold_back_every {every!r}: expected a whole number, 0 or more")
    return every


def _with_inference(the_plan: Plan, **values: Any) -> Plan:
    return the_plan.model_copy(update={"inference": the_plan.inference.model_copy(update=values)})


def _refuse_unsafe_flips(the_plan: Plan) -> None:
    flips = the_plan.trained_flips
    if unsafe := sorted(set(flips) - set(flips_that_keep_sides(the_plan, flips))):
        raise PlanInvalid(
            f"augmentation.flip_axes {list(flips)}: a flip along {unsafe} would put labels on the wrong side "
            f"({', '.join(the_plan.label_set.names)}): leave it out, or give both sides of every sided label "
            f"and grid.orientation RAS"
        )
    if untrained := sorted(set(the_plan.inference.mirror_axes) - set(flips)):
        raise PlanInvalid(
            f"inference.mirror_axes {list(the_plan.inference.mirror_axes)}: training does not flip along "
            f"{untrained} (it flips along {list(flips)}): name them in both, or in neither"
        )
