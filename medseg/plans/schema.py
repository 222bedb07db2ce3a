"""The JSON schema of a recipe, by which an editor completes and checks its keys."""

from __future__ import annotations

from typing import Any

from medseg.plans.plan import Plan

# Draft 7 is what YAML editors know best; every keyword used here means the same in 2020-12.
_DRAFT = "http://json-schema.org/draft-07/schema#"


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a partial plan, such as a recipe: any key may be left out, none may be unknown.

    What stands in a list is given as a whole, since lists replace each other: there, required keys are
    required. It checks one key at a time; what contradicts what only `Plan.checked` knows.
    """
    schema = Plan.model_json_schema()
    models: dict[str, Any] = schema.pop("$defs")
    listed = _in_lists(schema, models)
    for name, model in models.items():
        if name not in listed:
            model.pop("required", None)
    schema.pop("required")
    schema["description"] = "Values of a plan: a recipe or a whole plan of medseg."
    return {
        "$schema": _DRAFT,
        **_plain(schema),
        "$defs": {name: _plain(models[name]) for name in sorted(models)},
    }


def _in_lists(node: Any, models: dict[str, Any], inside: bool = False) -> set[str]:
    """Names of the models that stand in a list somewhere below ``node``."""
    if isinstance(node, list):
        return {name for value in node for name in _in_lists(value, models, inside)}
    if not isinstance(node, dict):
        return set()
    found = set()
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        found = _in_lists(models[name], models, inside) | ({name} if inside else set())
    for key, value in node.items():
        found |= _in_lists(value, models, inside or key in ("items", "prefixItems"))
    return found


def _plain(node: Any, *, names: bool = False) -> Any:
    """Without the titles that pydantic makes of names, and without the defaults of whole sections.

    A tuple of equal items becomes a list of a fixed length, which every draft knows. ``names``: the keys
    of ``node`` are a model's own, so that one called "title" stays.
    """
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _plain(value) for key, value in node.items()}
    plain = {
        key: _plain(value, names=key == "properties")
        for key, value in node.items()
        if key != "title" and not (key == "default" and isinstance(value, dict))
    }
    items = plain.get("prefixItems")
    if items and all(item == items[0] for item in items):
        plain["items"] = items[0]
        del plain["prefixItems"]
    return plain
