"""Strategies: scans on all kinds of grids, models for them, and ways to run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from medseg.geometry import Geometry
from medseg.plans import GridPlan, Plan
from medseg.preprocess import network_geometry
from medseg.volume import Volume
from tests.inference.plain import _starts, mirror_axes
from tests.inference.toy_networks import KINDS, Toy

# Logits that the plain computation may add up for one example: seconds, not minutes.
_MOST_WORK = 1e7


@dataclass(frozen=True, eq=False, repr=False)
class Case:
    """A scan, the models for it, and how they are asked."""

    volume: Volume
    members: tuple[tuple[Plan, Toy], ...]
    overlap: float
    tta: bool
    skip_empty: bool
    maps: frozenset[str]

    def __repr__(self) -> str:
        data, geometry = self.volume.data, self.volume.geometry
        scan = f"{data.shape} {data.dtype} {geometry.orientation} at {geometry.spacing}"
        how = f"overlap={self.overlap}, tta={self.tta}, skip_empty={self.skip_empty}"
        models = "\n    ".join(f"{_words(plan)} {network}" for plan, network in self.members)
        return f"Case({scan}, {how}, maps={sorted(self.maps)}\n    {models})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # what hypothesis prints
        printer.text(repr(self))


def _words(plan: Plan) -> str:
    """What matters of a plan, with whatever is as it always is left out."""
    values = plan.model_dump(exclude_defaults=True, exclude={"network", "name", "dimensions"})
    values["labels"] = {label["id"]: label["name"] for label in values["labels"][:6]}
    return str(values)


@st.composite
def geometries(draw: st.DrawFn, flat: bool | None = None) -> Geometry:
    """Grids with any order and direction of axes, oblique or sheared, anisotropic; or pictures."""
    if draw(st.booleans()) if flat is None else flat:
        shape = (draw(st.integers(1, 24)), draw(st.integers(1, 24)), 1)
        return Geometry(shape, np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True, spacing_known=False)
    shape = draw(st.tuples(*[st.integers(1, 14)] * 3))
    spacing = draw(st.tuples(*[st.sampled_from([0.5, 0.8, 1.0, 1.25, 3.0])] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    axes = draw(st.permutations(range(3)))
    a, b = (np.deg2rad(draw(st.sampled_from([0, 0, 12, 31]))) for _ in range(2))
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    shear = np.eye(3)
    shear[0, 2] = draw(st.sampled_from([0.0, 0.0, 0.2]))
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ shear @ np.diag(signs)[:, axes] @ np.diag(spacing)
    affine[:3, 3] = (-31.0, 12.5, 77.0)
    return Geometry(shape, affine)


@st.composite
def scans(draw: st.DrawFn, geometry: Geometry, channels: int) -> Volume:
    """Smooth or rough tissue, 0 to 100, with air (-1000) in part of it."""
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    shape = geometry.shape
    if draw(st.booleans()):
        index = np.indices(shape).reshape(3, -1)
        waves = generator.normal(size=(channels, 3)) * 0.25
        data = 50 + 45 * np.sin(waves @ index + generator.uniform(0, 6, (channels, 1)))
        data = data.reshape(channels, *shape)
    else:
        data = generator.uniform(0, 100, size=(channels, *shape))
    # Mostly all of a side, so that whole windows are air.
    start = tuple(draw(st.one_of(st.just(0), st.integers(0, n - 1))) for n in shape)
    ends = (st.one_of(st.just(n), st.integers(s, n)) for s, n in zip(start, shape, strict=True))
    stop = tuple(draw(end) for end in ends)
    data[(slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))] = -1000
    dtype = draw(st.sampled_from([np.float32, np.int16, np.float64]))
    return Volume(np.asarray(data.astype(dtype), order=draw(st.sampled_from("CF"))), geometry)


@st.composite
def outputs(draw: st.DrawFn, classes: int) -> dict[str, Any]:
    """Labels, in any order, perhaps with sides, and perhaps regions of them."""
    largest = draw(st.sampled_from([classes + 1, 255, 65535]))
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    ids = 1 + generator.permutation(max(largest, classes))[:classes]
    names = [f"part {n}" for n in range(classes)]
    sided = draw(st.sampled_from(["no", "no", "pairs", "pairs", "one"]))
    if sided == "pairs":
        for n in range(0, classes - 1, 2):
            names[n], names[n + 1] = f"left part {n}", f"right part {n}"
    elif sided == "one":
        names[0] = "left part"
    labels = [{"id": int(i), "name": n, "colour": (1, 2, 3)} for i, n in zip(ids, names, strict=True)]
    values: dict[str, Any] = {"labels": labels}
    if draw(st.integers(0, 3)) == 0:
        some = st.lists(st.sampled_from([int(i) for i in ids]), min_size=1, max_size=3, unique=True)
        values["regions"] = [
            {"name": f"region {n}", "labels": tuple(draw(some)), "paints": draw(some)[0]}
            for n in range(draw(st.integers(1, 5)))
        ]
    return values


@st.composite
def channel_plans(draw: st.DrawFn) -> dict[str, Any]:
    """Normalisations after which values are of the order of 1."""
    return draw(
        st.sampled_from(
            [
                {"normalisation": "zscore"},
                {"normalisation": "window", "low": -200.0, "high": 90.0, "mean": 40.0, "std": 35.0},
                {"normalisation": "unit", "low": -50.0, "high": 100.0},
            ]
        )
    )


def small_network(dimensions: int) -> dict[str, Any]:
    """What a plan must say of a network that nobody builds."""
    return {"network": {"strides": ((1,) * dimensions,) * 3, "features": (1, 1, 1), "deep_supervision": 0}}


@st.composite
def grids(draw: st.DrawFn, geometry: Geometry, dimensions: int) -> dict[str, Any]:
    """The scan's own spacing, or one that is 0.4 to 2.5 times as coarse along each axis."""
    orientation = None if geometry.is_2d else draw(st.sampled_from(["RAS", "RAS", None]))
    if not geometry.spacing_known or draw(st.booleans()):
        return {"orientation": orientation, "spacing_mm": None}
    own = network_geometry(geometry, GridPlan(orientation=orientation)).spacing
    ratio = st.one_of(
        st.just(1.0), st.sampled_from([0.5, 1.5, 2.0]), st.integers(40, 250).map(lambda n: n / 100)
    )
    return {"orientation": orientation, "spacing_mm": tuple(draw(ratio) * s for s in own)}


@st.composite
def cases(draw: st.DrawFn, classes: st.SearchStrategy[int] | None = None) -> Case:
    """Any scan, one to three models that segment the same structures, and any way of asking them."""
    dimensions = draw(st.sampled_from([2, 3, 3, 3]))
    geometry = draw(geometries(flat=None if dimensions == 2 else False))
    volume = draw(scans(geometry, draw(st.sampled_from([1, 1, 2]))))
    channels = len(volume.data)
    number = draw(classes or st.one_of(st.integers(1, 5), st.integers(1, 5), st.integers(6, 200)))
    structures = draw(outputs(number))
    overlap = draw(st.one_of(st.sampled_from([0.0, 0.5, 0.9]), st.integers(0, 90).map(lambda n: n / 100)))
    several = draw(st.sampled_from(["one", "one", "one", "alike", "unlike"]))
    tta = draw(st.sampled_from([False, False, True]))
    kind = draw(st.sampled_from(KINDS))
    how: dict[str, Any] = {}
    members = []
    for n in range(1 if several == "one" else draw(st.integers(2, 3))):
        if n == 0 or several == "unlike":
            axes = draw(st.lists(st.integers(0, dimensions - 1), unique=True, max_size=dimensions))
            how = {
                "patch": draw(st.tuples(*[st.integers(1, 10)] * dimensions)),
                "grid": draw(grids(geometry, dimensions)),
                "network": {
                    "strides": ((1,) * dimensions,) * 3,
                    "features": (1, 1, 1),
                    "deep_supervision": 0,
                },
                "inference": {
                    "overlap": overlap,
                    "gaussian_sigma": draw(st.sampled_from([0.125, 0.125, 0.3])),
                    "mirror_axes": tuple(axes),
                    "empty": draw(empty_rules(channels)),
                },
                "augmentation": {"flip_axes": tuple(axes[: draw(st.sampled_from([len(axes)] * 3 + [1]))])},
            }
        if n > 0 and draw(st.integers(0, 5)) == 0:  # a fold with another rule: nothing may be skipped
            how = {**how, "inference": {**how["inference"], "empty": draw(empty_rules(channels))}}
        plan = Plan.checked(
            {
                "name": f"toy {n}",
                "dimensions": dimensions,
                "channels": [{"name": f"c{c}", **draw(channel_plans())} for c in range(channels)],
                **structures,
                **how,
            }
        )
        network = Toy(kind, len(plan.output_names), channels, plan.patch, seed=n)
        network.batch_size, network.settings["threads"] = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        members.append((plan, network))
    overlap = affordable(volume, [plan for plan, _ in members], overlap, tta)
    maps = frozenset(draw(st.sets(st.sampled_from(["probabilities", "entropy"]))))
    return Case(volume, tuple(members), overlap, tta, draw(st.sampled_from([True, True, False])), maps)


@st.composite
def empty_rules(draw: st.DrawFn, channels: int) -> dict[str, Any] | None:
    """No rule, or one that tells air from tissue, or one that cuts tissue in two."""
    if draw(st.booleans()):
        return None
    unit, below = draw(
        st.sampled_from([("intensity", -487.3), ("intensity", 43.21), ("range", 0.0523), ("range", 0.5123)])
    )
    return {"channel": draw(st.integers(0, channels - 1)), "unit": unit, "below": below}


def affordable(volume: Volume, plans: list[Plan], overlap: float, tta: bool) -> float:
    """The largest overlap up to ``overlap`` that the plain computation can afford."""
    while True:
        work = 0.0
        for plan in plans:
            patch = (*plan.patch, 1) if plan.dimensions == 2 else plan.patch
            shape = network_geometry(volume.geometry, plan.grid).shape
            windows = [len(_starts(max(n, p), p, overlap)) for n, p in zip(shape, patch, strict=True)]
            flips = 2 ** len(mirror_axes(plan)) if tta else 1
            # A call costs as much as some ten thousand logits.
            each = 1e4 + len(plan.output_names) * float(np.prod(patch))
            work += float(np.prod(windows)) * flips * each
        if work <= _MOST_WORK or overlap == 0:
            break
        overlap = round(max(0.0, overlap - 0.05), 2)
    assume(work <= 3 * _MOST_WORK)  # windows of one voxel are a few thousand, whatever the overlap
    return overlap
