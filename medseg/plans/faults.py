"""What is wrong with the values of a plan, in words that say what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

Location = tuple[int | str, ...]
_EXPECTED = {
    "tuple_type": "a list, as in [1, 2]",
    "list_type": "a list, as in [1, 2]",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "dict_type": "settings of its own, as in key: value",
    "model_type": "settings of its own, as in key: value",
    "model_attributes_type": "settings of its own, as in key: value",
    "none_required": "nothing (null)",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} in the list",
    "too_long": "at most {max_length} in the list",
    "union_tag_invalid": "{discriminator} to be one of {expected_tags}",
    "union_tag_not_found": "{discriminator}, which says what it is",
}
# What a part of a plan cannot say of itself: what it lacks, and whether its values fit each other.
_OF_THE_WHOLE = ("missing", "value_error", "assertion_error")


def plan_faults(error: ValidationError, model: type[BaseModel], *, of_part: bool = False) -> list[str]:
    """Every fault with its key: what was expected, what was found, or which key may be meant.

    Parameters
    ----------
    error
        From validating values as ``model``.
    model
        The class of a whole plan: its keys are what unknown ones are compared with.
    of_part
        The values were a part of a plan: only faults that no other values could mend.
    """
    found = error.errors(include_url=False)
    found = [fault for fault in found if not _follows(fault["loc"], fault["type"], found)]
    if of_part:
        found = [fault for fault in found if fault["type"] not in _OF_THE_WHOLE]
    return [_said(fault, model) for fault in found]


def _follows(where: Location, kind: str, found: Sequence[Any]) -> bool:
    """Whether a list is too short only because pydantic leaves out its faulty items."""
    deeper = (other["loc"] for other in found if len(other["loc"]) > len(where))
    return kind == "too_short" and any(loc[: len(where)] == where for loc in deeper)


def _said(fault: Any, model: type[BaseModel]) -> str:
    where: Location = fault["loc"]
    key = _dotted(where)
    context = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            return f"{key}: no such setting: {_meant(where, model)}"
        case "missing":
            return f"{key}: is needed and not there"
        case "value_error" | "assertion_error":
            return f"{key}: {context['error']}" if key else str(context["error"])
        case kind if kind in _EXPECTED:
            return f"{key}: expected {_EXPECTED[kind].format(**context)}, found {_shortened(fault['input'])}"
    return f"{key}: {fault['msg']}, found {_shortened(fault['input'])}"


def _meant(where: Location, model: type[BaseModel]) -> str:
    """Keys that look like an unknown one, there or in another section; else all that there are there."""
    wrong = str(where[-1])
    here = [key for section in _sections(where[:-1], model) for key in section.model_fields]
    prefix = _dotted(where[:-1])
    close = difflib.get_close_matches(wrong, here, n=2, cutoff=0.7)
    likely = [f"{prefix}.{key}" if prefix else key for key in close]
    likely = likely or [path for path in _paths(model) if path.rpartition(".")[2] == wrong]
    if likely:
        return f"did you mean {' or '.join(likely)}?"
    return f"{prefix or 'a plan'} has {', '.join(dict.fromkeys(here)) or 'none'}"


def _sections(where: Location, model: type[BaseModel]) -> list[type[BaseModel]]:
    """The classes of the values at a place: several in a list whose items may be of several kinds."""
    here = [model]
    for part in where:
        if isinstance(part, int):
            continue
        below = [section.model_fields[part].annotation for section in here if part in section.model_fields]
        if below:
            here = [section for annotation in below for section in _models(annotation)]
        else:  # the kind of an item, which pydantic puts between its number and its keys
            here = [section for section in here if _is_kind(section, part)]
    return here


def _is_kind(section: type[BaseModel], kind: str) -> bool:
    return any(kind in get_args(field.annotation) for field in section.model_fields.values())


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The plan's classes that a type hint names, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _models(inner)]


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted keys of all settings that are in no list."""
    for key, field in model.model_fields.items():
        path = f"{prefix}{key}"
        yield path
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _paths(inner, f"{path}.")


def _dotted(where: Location) -> str:
    return ".".join(map(str, where))


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
