"""Recipes: plan values in YAML, laid over what the planner proposes, and ``key=value`` over both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import NotFound, PlanInvalid
from medseg.plans import load_yaml
from medseg.plans.recipes import shipped_recipes


def read_recipe(config: str | Path) -> dict[str, Any]:
    """A recipe by its shipped name (``hippocampus``) or by the path of a YAML file.

    Raises
    ------
    NotFound
        If it is neither.
    PlanInvalid
        If the file is not a YAML mapping.
    """
    shipped = shipped_recipes()
    if str(config) in shipped:
        return load_yaml(shipped[str(config)].text, str(config))
    path = Path(config)
    if not path.is_file():
        close = get_close_matches(str(config), shipped, n=1)
        meant = f": did you mean {close[0]}?" if close else ""
        raise NotFound(f"{config}: neither a file nor one of the recipes {', '.join(shipped)}{meant}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PlanInvalid(f"{path}: not text in UTF-8, expected a YAML recipe: {error}") from error
    return load_yaml(text, path.name)


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``["schedule.steps=500", "sampling.batch_size=2"]`` as nested values; each value is YAML."""
    values: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise PlanInvalid(f"{text!r}: expected key=value, e.g. schedule.steps=500")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise PlanInvalid(
                f"{text!r}: the value is not YAML (lists and mappings need quotes in a shell): {error}"
            ) from error
        inner = values
        *parents, last = key.strip().split(".")
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise PlanInvalid(f"{text!r}: {parent!r} is already a plain value")
        inner[last] = parsed
    return values


def merged(base: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers over earlier ones; mappings are merged key by key, everything else replaced."""
    result = dict(base)
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result
