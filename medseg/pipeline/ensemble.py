"""Several models as one: what they must have in common, and how they are named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from medseg.errors import UsageError
from medseg.models import ModelBundle
from medseg.plans import Plan


def check_members(bundles: Sequence[ModelBundle]) -> None:
    """Refuse models whose answers cannot be averaged, and a model that is given twice.

    Raises
    ------
    UsageError
        Naming the two models and what differs: dimensions, input channels, labels, outputs, or totals.
    """
    if not bundles:
        raise UsageError("an ensemble of no models: name at least one")
    first = bundles[0]
    for position, bundle in enumerate(bundles[1:], start=1):
        twin = next((n for n, other in enumerate(bundles[:position]) if other.hash == bundle.hash), None)
        if twin is not None:
            raise UsageError(
                f"models {twin + 1} and {position + 1} of the ensemble are the same ({bundle.name!r}): "
                "name each model once"
            )
        for what, mine, theirs in _differences(first, bundle):
            raise UsageError(
                f"models {first.name!r} and {bundle.name!r} are no ensemble, their {what} differ: "
                f"{mine} against {theirs}"
            )


def joint_name(bundles: Sequence[ModelBundle]) -> str:
    """The models' names, in order: ``a+b``."""
    return "+".join(bundle.name for bundle in bundles)


def joint_hash(bundles: Sequence[ModelBundle]) -> str:
    """A lone model's hash; of several, SHA-256 (hex) over their hashes in order."""
    if len(bundles) == 1:
        return bundles[0].hash
    return hashlib.sha256("".join(bundle.hash for bundle in bundles).encode("ascii")).hexdigest()


def _differences(first: ModelBundle, other: ModelBundle) -> list[tuple[str, str, str]]:
    words: dict[str, Callable[[Plan], str]] = {
        "dimensions": lambda plan: f"{plan.dimensions}D",
        "input channels": lambda plan: ", ".join(channel.name for channel in plan.channels),
        "labels": lambda plan: ", ".join(f"{label.id} {label.name}" for label in plan.label_set),
        "outputs": _outputs,
        "totals": _totals,
    }
    pairs = [(what, word(first.plan), word(other.plan)) for what, word in words.items()]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _outputs(plan: Plan) -> str:
    if not plan.regions:
        return "one class per voxel"
    return "; ".join(f"{r.name} (labels {list(r.labels)}, painted {r.paints})" for r in plan.regions)


def _totals(plan: Plan) -> str:
    return "; ".join(f"{total.name} (labels {sorted(total.labels)})" for total in plan.totals) or "none"
