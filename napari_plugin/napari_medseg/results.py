"""What a run in the window gave: as layers, and beside what an earlier run gave. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import LabelMap, Reason, Segmentation, Verdict
from napari_medseg.layers import METADATA_KEY, LayerData, LayerGrid, labels_layer
from napari_medseg.run_options import CleanUp, RunOptions


@dataclass(frozen=True, slots=True)
class RunKey:
    """What decides a result: two runs of one key differ by rounding at most.

    Parameters
    ----------
    model
        SHA-256 of the model.
    scans
        Which image layer was each channel, by napari's ``unique_id``.
    words
        `RunOptions.words`.
    """

    model: str
    scans: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """What a run gave.

    Parameters
    ----------
    labels
        On the scan's own grid, cleaned up.
    doubt
        Entropy (I, J, K) in nats, float16; None where no map was made.
    model, verdict, provenance
        As in `medseg.Segmentation`. The provenance tells of the clean-up as ``"clean_up"``.
    options
        What was asked for.
    seconds
        How long it took.
    digest
        `digest` of the labels.
    """

    labels: LabelMap
    doubt: NDArray[np.float16] | None
    model: str
    verdict: Verdict
    provenance: Mapping[str, Any]
    options: RunOptions
    seconds: float
    digest: str

    def key(self, scans: Sequence[str]) -> RunKey:
        """What decided this result; ``scans`` as in `RunKey`."""
        return RunKey(self.provenance["model"]["sha256"], tuple(scans), self.options.words)


def run_result(found: Segmentation, options: RunOptions) -> RunResult:
    """A segmentation, cleaned up as was asked for.

    Raises
    ------
    UsageError
        As `CleanUp.apply`.
    """
    clean_up, provenance = options.clean_up, dict(found.provenance)
    labels, verdict = clean_up.apply(found.labels), found.verdict
    if clean_up != CleanUp():
        provenance["clean_up"] = clean_up.to_json()
        if found.labels.data.any() and not labels.data.any():
            text = "the clean-up removed everything that the model found: ask for less of it"
            verdict = verdict + Verdict("warning", (Reason("empty-segmentation", text),))
            labels = replace(labels, verdict=verdict)
    return RunResult(
        labels,
        None if found.entropy is None else found.entropy.data[0].astype(np.float16),
        found.model,
        verdict,
        provenance,
        options,
        float(found.timings_s["total"]),
        digest(labels.data),
    )


def digest(ids: NDArray[Any]) -> str:
    """A checksum of labels (I, J, K): equal for equal voxels of one type and one order in memory."""
    return blake2b(np.ravel(ids, order="K").data, digest_size=16).hexdigest()


def result_layer(result: RunResult, key: RunKey, name: str) -> LayerData:
    """The labels as a layer, with what is to be kept of the run."""
    data, options, kind = labels_layer(result.labels, name)
    options["metadata"][METADATA_KEY] |= {
        "model": result.model,
        "provenance": dict(result.provenance),
        "run": key,
        "digest": result.digest,
    }
    return data, options, kind


def doubt_layer(result: RunResult, key: RunKey, name: str) -> LayerData | None:
    """The map of doubt as an image that is hidden at first; None without a map.

    It lies on the scan's grid and knows of the scan's files, so "next slice of interest" takes it.
    """
    if result.doubt is None:
        return None
    _, placed, _ = labels_layer(result.labels, name)
    options = {one: placed[one] for one in ("name", "scale", "translate", "axis_labels", "units")}
    kept = {one: placed["metadata"][METADATA_KEY][one] for one in ("geometry", "source", "verdict")}
    options |= {
        "metadata": {METADATA_KEY: {**kept, "doubt_of": key}},
        "contrast_limits": (0.0, max(float(result.doubt.max(initial=0)), 1e-3)),
        "colormap": "magma",
        "blending": "additive",
        "visible": False,
    }
    return LayerGrid(result.labels.geometry).to_layer(result.doubt), options, "image"


def is_result_of(metadata: Mapping[str, Any], key: RunKey) -> bool:
    """Whether a layer with this metadata was made by a run of this key."""
    return bool(metadata.get(METADATA_KEY, {}).get("run") == key)


def is_doubt_of(metadata: Mapping[str, Any], key: RunKey | None = None) -> bool:
    """Whether a layer with this metadata is a map of doubt, of any run or of those of a key."""
    of = metadata.get(METADATA_KEY, {}).get("doubt_of")
    return of is not None and (key is None or bool(of == key))


def is_unedited(layer_data: NDArray[Any], metadata: Mapping[str, Any]) -> bool:
    """Whether the layer of a result still holds what the run gave."""
    kept = metadata[METADATA_KEY]
    return bool(digest(LayerGrid(kept["geometry"]).to_array(np.asarray(layer_data))) == kept["digest"])


def result_name(scan: str, result: RunResult, taken: Collection[str]) -> str:
    """A layer's name: scan, model, unusual options, and the number of the run where it is not the first."""
    words = result.options.words
    name = f"{scan} {result.model}" + (f", {words}" if words else "")
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}, run {number}"
    return free


def finished_text(result: RunResult) -> str:
    """What was done, and how long it took."""
    return f"Segmented with {result.model} in {result.seconds:.1f} s."
