"""docs/plan-reference.md and configs/plan.schema.json, from the keys of a `Plan`.

    python scripts/make_plan_reference.py

Run it after any change of a key; a test holds both files against it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.labels import Label, LabelSet
from medseg.plans import ChannelStatistics, Fingerprint, Plan
from medseg.plans.schema import recipe_schema
from medseg.training.planner import propose

ROOT = Path(__file__).parents[1]
REFERENCE, SCHEMA = ROOT / "docs" / "plan-reference.md", ROOT / "configs" / "plan.schema.json"
HEAD = """\
# Every key of a plan

Made by `scripts/make_plan_reference.py` from `medseg/plans/`; do not edit. [Training](training.md) tells what
a plan is, [recipes](recipes.md) which sets of values there are.

A key of a section is written `section.key`, on the command line too: `medseg train dataset -o run
schedule.steps=500`. A name with `[]` is of each entry of a list, which is always given as a whole; NAME and
NUMBER stand for keys of your own. `planned`: `medseg plan` chooses it by the dataset. `null` is nothing.
"""
WORDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A model of the plan: where it stands (empty at the top), which of several it is, and its keys."""

    place: str
    choice: str
    text: str
    keys: dict[str, Any]
    required: tuple[str, ...]


def reference() -> str:
    """The page."""
    schema = Plan.model_json_schema()
    planned = _planned()
    parts = [HEAD]
    for section in sections(schema, schema["$defs"]):
        if section.place:
            parts.append(f"## {section.place}{section.choice}\n")
            parts.append(inspect.cleandoc(section.text).replace("``", "`") + "\n")
        parts.append("| key | type | default | allowed | means |\n| --- | --- | --- | --- | --- |")
        for name, node in section.keys.items():
            place = f"{section.place}.{name}" if section.place else name
            parts.append(_row(place, node, place in planned, name in section.required))
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def schema_text() -> str:
    """The JSON schema as it lies in configs/."""
    return json.dumps(recipe_schema(), indent=1) + "\n"


def sections(
    node: dict[str, Any], models: dict[str, Any], place: str = "", choice: str = ""
) -> Iterator[Section]:
    """A model and, below it, those of its keys, in the order of the plan."""
    keys = node["properties"]
    # At the top a section of the plan is told by its own table alone.
    own = {name: key for name, key in keys.items() if place or "$ref" not in key}
    yield Section(place, choice, node.get("description", ""), own, tuple(node.get("required", ())))
    for name, key in keys.items():
        for model, way, which in _models(key):
            below = f"{place}.{name}{way}" if place else name + way
            yield from sections(models[model], models, below, which)


def _models(node: dict[str, Any], way: str = "") -> Iterator[tuple[str, str, str]]:
    """Models of a key's value, what is added to its name on the way, and which of several each one is."""
    if "$ref" in node:
        yield node["$ref"].rpartition("/")[2], way, ""
    for choice in node.get("anyOf", ()):
        yield from _models(choice, way)
    if "discriminator" in node:
        told_by = node["discriminator"]["propertyName"]
        for value, model in node["discriminator"]["mapping"].items():
            yield model.rpartition("/")[2], way, f", {told_by}: {value}"
    if "items" in node:
        yield from _models(node["items"], f"{way}[]")
    if isinstance(node.get("additionalProperties"), dict):
        numbered = node["title"] == "Priors"  # the schema does not tell keys that are numbers from names
        yield from _models(node["additionalProperties"], way + (".NUMBER" if numbered else ".NAME"))


def _row(place: str, node: dict[str, Any], planned: bool, required: bool) -> str:
    default = "planned" if planned else "must be given" if required else f"`{_short(node.get('default'))}`"
    means = node.get("description", "which one it is" if "const" in node else "")
    cells = (f"`{place}`", _type(node), default, _allowed(node), means)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _short(value: Any) -> str:
    return "see below" if isinstance(value, dict) and value else json.dumps(value, ensure_ascii=False)


def _type(node: dict[str, Any]) -> str:
    if "$ref" in node or "discriminator" in node:
        return "section"
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_type(choice) for choice in node["anyOf"]))
    if "enum" in node or "const" in node:
        return "choice"
    kind = node.get("type")
    if kind == "array":
        items = node.get("prefixItems") or [node["items"]]
        number = f"{len(items)} " if "prefixItems" in node else ""
        return f"list of {number}{_plural(_type(items[0]))}"
    if kind == "object":
        return f"{_plural(_type(node['additionalProperties']))} by key"
    return WORDS[kind or "null"]


def _plural(word: str) -> str:
    if word.startswith("list of"):
        return "lists" + word.removeprefix("list")
    return {"text": "texts", "true or false": "true or false"}.get(word, f"{word}s")


def _allowed(node: dict[str, Any]) -> str:
    """The values or the range of a key, of the entries where it is a list."""
    if "enum" in node or "const" in node:
        return ", ".join(
            f"`{json.dumps(value)}`".replace('"', "") for value in node.get("enum", [node.get("const")])
        )
    inner = [*node.get("anyOf", ()), *(node.get("prefixItems") or [])[:1]]
    inner += [node["items"]] if isinstance(node.get("items"), dict) else []
    found = [_range(node), *(_allowed(one) for one in inner)]
    return "; ".join(dict.fromkeys(text for text in found if text))


def _range(node: dict[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if "exclusiveMinimum" in node:
        low_text = f"above {node['exclusiveMinimum']:g}"
    else:
        low_text = "" if low is None else f"{low:g} or more"
    if "exclusiveMaximum" in node:
        high_text = f"below {node['exclusiveMaximum']:g}"
    else:
        high_text = "" if high is None else f"at most {high:g}"
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    texts = [text for text in (low_text, high_text) if text]
    if node.get("type") == "array" and node.get("minItems") and "prefixItems" not in node:
        texts.append(f"{node['minItems']} entries or more" if node["minItems"] > 1 else "one entry or more")
    return ", ".join(texts)


def _planned() -> set[str]:
    """Dotted names of what the planner chooses."""
    channel = ChannelStatistics(
        name="ct", modality="CT", mean=0, std=1, percentile_00_5=-1, percentile_99_5=1
    )
    seen = Fingerprint(
        cases=1, dimensions=3, spacing_known=True, spacing_median=(1, 1, 1), spacing_min=(1, 1, 1),
        spacing_max=(1, 1, 1), shape_median=(64, 64, 64), shape_min=(64, 64, 64), shape_max=(64, 64, 64),
        channels=(channel,), voxel_fraction={0: 0.9, 1: 0.1}, cases_with_label={1: 1},
    )  # fmt: skip
    labels = LabelSet((Label(1, "structure", (255, 0, 0)),))
    proposed = propose(seen, labels, "dataset", memory_bytes=8 * 2**30, on_gpu=False)
    names = {"inference.empty"}  # chosen after the rest, by looking at the scans again
    for key, value in proposed.items():
        names |= {key} | ({f"{key}.{inner}" for inner in value} if isinstance(value, dict) else set())
    return names


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")
