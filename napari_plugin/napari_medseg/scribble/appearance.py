"""How probably a voxel belongs to a structure by its intensity, learnt from strokes. No Qt, no viewer."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from napari_medseg.scribble.cells import Floats, Spacing

# Chosen as the constants of scribbles.py are.
_OUTSIDE_BELIEF = 0.7  # belief in outside where appearance says nothing
_SCALES = (0.5, 1.5)  # standard deviation of the two blurs, in steps of the finest axis
_BINS = 32  # of each intensity
_BIN_BLUR = 1.5  # standard deviation in bins
_UNSEEN = 0.05  # share of an appearance that is left to intensities under no stroke

_CLIP = 0.1  # how far beyond the percentiles grey values reach
_SAMPLE = 2**18  # voxels that the percentiles are taken from


def grey_values(image: NDArray[Any]) -> Floats:
    """The image with its 1st to 99th percentile as 0 to 1, clipped a little outside; 0 if constant."""
    with np.errstate(over="ignore"):  # beyond float32 is not finite either
        grey = np.array(image, np.float32)
    finite = np.isfinite(grey)
    if not finite.all():
        grey[~finite] = grey[finite].min() if finite.any() else 0
    low, high = np.percentile(grey.ravel()[:: max(1, grey.size // _SAMPLE)], (1, 99))
    if high <= low:  # nearly all is one value
        low, high = grey.min(), grey.max()
    grey -= low
    if high > low:
        grey /= high - low
    return np.clip(grey, -_CLIP, 1 + _CLIP, out=grey)


def appearance(grey: Floats, marks: NDArray[np.uint8], spacing: Spacing, structures: int) -> Floats:
    """(structures, I, J, K): how probably a voxel's intensities are those under a structure's strokes.

    Bayes' rule over smoothed histograms of two intensities, one blurred a little and one more.

    Parameters
    ----------
    grey
        (I, J, K) from `grey_values`.
    marks
        (I, J, K): 0 unmarked, 1 outside, 2.. the structures. Without a stroke outside, the unmarked faces of
        the grid show what is outside; without one of a structure, all intensities are alike in it.
    spacing
        Millimetres along i, j, k.
    structures
        How many there are.
    """
    bin_of = np.zeros(grey.shape, np.intp)
    for scale in _SCALES:
        blurred = scipy.ndimage.gaussian_filter(grey, [scale * min(spacing) / mm for mm in spacing])
        blurred += _CLIP
        blurred *= _BINS / (1 + 2 * _CLIP)
        bin_of = bin_of * _BINS + np.clip(blurred.astype(np.intp), 0, _BINS - 1)
    beliefs = [_OUTSIDE_BELIEF] + [(1 - _OUTSIDE_BELIEF) / structures] * structures
    likely = []
    for number, belief in enumerate(beliefs, start=1):
        seen = bin_of[marks == number]
        if number == 1 and not seen.size:
            seen = bin_of[_faces(marks.shape) & (marks == 0)]
        histogram = np.bincount(seen, minlength=_BINS**2).reshape(_BINS, _BINS).astype(np.float64)
        histogram = scipy.ndimage.gaussian_filter(histogram, _BIN_BLUR, mode="constant")
        histogram /= max(histogram.sum(), 1e-9)
        likely.append(belief * (histogram + _UNSEEN / _BINS**2))
    table = (np.array(likely[1:]) / sum(likely)).reshape(structures, -1).astype(np.float32)
    return np.stack([row[bin_of] for row in table])


def _faces(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    faces = np.ones(shape, bool)
    faces[tuple(slice(1, -1) if n > 2 else slice(None) for n in shape)] = False
    return faces
