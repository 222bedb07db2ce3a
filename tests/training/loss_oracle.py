"""Every loss written out in numpy, voxel by voxel where that is short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Array = np.ndarray
EPS = 1e-5


@dataclass(frozen=True)
class Seen:
    """One head: logits (B, K, *size), truth in {0, 1} likewise, known bool (B, *size), spacing per axis."""

    logits: Array
    truth: Array
    known: Array
    spacing: tuple[float, ...]
    regions: bool

    @property
    def found(self) -> Array:
        if self.regions:
            return 1 / (1 + np.exp(-self.logits))
        shares = np.exp(self.logits - self.logits.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    def structures(self) -> list[tuple[Array, Array]]:
        """Probability and truth of the known voxels, per structure."""
        first = 0 if self.regions else 1
        return [
            (self.found[:, c][self.known], self.truth[:, c][self.known])
            for c in range(first, self.truth.shape[1])
        ]


def dice(s: Seen, how: dict) -> float:
    pairs = s.structures()
    return float(np.mean([1 - (2 * (p * g).sum() + EPS) / (p.sum() + g.sum() + EPS) for p, g in pairs]))


def generalised_dice(s: Seen, how: dict) -> float:
    pairs = [(s.found[:, c][s.known], s.truth[:, c][s.known]) for c in range(s.truth.shape[1])]
    there = [1 / g.sum() ** 2 for _, g in pairs if g.sum()]
    if not there:
        return 0.0
    weight = [1 / g.sum() ** 2 if g.sum() else max(there) for _, g in pairs]
    both = sum(w * (p * g).sum() for w, (p, g) in zip(weight, pairs, strict=True))
    return float(1 - 2 * both / sum(w * (p + g).sum() for w, (p, g) in zip(weight, pairs, strict=True)))


def _misses(s: Seen, how: dict) -> list[float]:
    a, b = how.get("tversky_false_positives", 0.3), how.get("tversky_false_negatives", 0.7)
    return [
        1 - ((p * g).sum() + EPS) / ((p * g).sum() + a * (p * (1 - g)).sum() + b * ((1 - p) * g).sum() + EPS)
        for p, g in s.structures()
    ]


def tversky(s: Seen, how: dict) -> float:
    return float(np.mean(_misses(s, how)))


def focal_tversky(s: Seen, how: dict) -> float:
    power = 1 / how.get("focal_tversky_gamma", 4 / 3)
    return float(np.mean([max(one, 1e-6) ** power for one in _misses(s, how)]))


def _rows(s: Seen, how: dict, weights: Array | None, gamma: float | None) -> tuple[Array, Array]:
    """Value and weight of every known voxel, of regions of every known voxel and region."""
    smooth = how.get("label_smoothing", 0.0)
    values, counts = [], []
    for place in np.argwhere(s.known):
        b, at = place[0], tuple(place[1:])
        p, g = s.found[(b, slice(None), *at)], s.truth[(b, slice(None), *at)]
        if s.regions:
            for c in range(len(p)):
                right = p[c] if g[c] else 1 - p[c]
                soft = g[c] * (1 - smooth) + smooth / 2
                bce = -soft * np.log(p[c]) - (1 - soft) * np.log(1 - p[c])
                values.append(bce if gamma is None else -((1 - right) ** gamma) * np.log(right))
                counts.append(1.0 if weights is None else weights[c][int(g[c])])
        else:
            c = int(g.argmax())
            soft = g * (1 - smooth) + smooth / len(g)
            values.append(
                -(soft * np.log(p)).sum() if gamma is None else -((1 - p[c]) ** gamma) * np.log(p[c])
            )
            counts.append(1.0 if weights is None else weights[c])
    return np.array(values), np.array(counts)


def cross_entropy(s: Seen, how: dict, weights: Array | None) -> float:
    values, counts = _rows(s, how, weights, None)
    return float((values * counts).sum() / counts.sum()) if len(values) else 0.0


def focal(s: Seen, how: dict, weights: Array | None) -> float:
    values, counts = _rows(s, how, weights, how.get("focal_gamma", 2.0))
    return float((values * counts).sum() / counts.sum()) if len(values) else 0.0


def worst(s: Seen, how: dict, weights: Array | None) -> float:
    values, counts = _rows(s, how, weights, None)
    if not len(values):
        return 0.0
    order = np.argsort(-values * counts)[: int(np.ceil(how.get("topk_fraction", 0.1) * len(values)))]
    return float((values * counts)[order].sum() / counts[order].sum())


def distance_to_other_side(mask: Array, spacing: tuple[float, ...]) -> Array:
    """By looking at every voxel of the other side; 0 where there is none."""
    places = np.argwhere(np.ones(mask.shape, bool)) * spacing
    flat = mask.ravel()
    if flat.all() or not flat.any():
        return np.zeros(mask.shape)
    distances = np.sqrt(((places[:, None] - places[None]) ** 2).sum(-1))
    return np.where(flat[:, None] != flat[None], distances, np.inf).min(1).reshape(mask.shape)


def _masked(s: Seen) -> list[tuple[Array, Array]]:
    """(B, *size) of what was found and is there, both 0 where nobody judged."""
    first = 0 if s.regions else 1
    return [(s.found[:, c] * s.known, s.truth[:, c] * s.known) for c in range(first, s.truth.shape[1])]


def boundary(s: Seen, how: dict) -> float:
    total = 0.0
    for found, there in _masked(s):
        for p, g in zip(found, there, strict=True):
            signed = distance_to_other_side(g > 0.5, s.spacing) * np.where(g > 0.5, -1, 1)
            total += (signed * (p - g)).sum()
    return float(total / max(1, s.known.sum()) / len(_masked(s)))


def hausdorff(s: Seen, how: dict) -> float:
    means = []
    for found, there in _masked(s):
        for p, g in zip(found, there, strict=True):
            squares = sum(distance_to_other_side(m > 0.5, s.spacing) ** 2 for m in (p, g))
            means.append(((p - g) ** 2 * squares).mean())
    return float(np.log(np.mean(means) + 1))


def cldice(s: Seen, how: dict) -> float:
    each = []
    for found, there in _masked(s):
        for p, g in zip(found, there, strict=True):
            thin_p, thin_g = (skeleton(m, how.get("skeleton_steps", 3)) for m in (p, g))
            precision = ((thin_p * g).sum() + 1) / (thin_p.sum() + 1)
            sensitivity = ((thin_g * p).sum() + 1) / (thin_g.sum() + 1)
            each.append(1 - 2 * precision * sensitivity / (precision + sensitivity + 1e-4))
    return float(np.mean(each))


def skeleton(image: Array, steps: int) -> Array:
    """Soft skeleton of Shit et al. (2021), algorithm 1."""
    thin = np.maximum(image - _opened(image), 0)
    for _ in range(steps):
        image = _eroded(image)
        delta = np.maximum(image - _opened(image), 0)
        thin = thin + np.maximum(delta - thin * delta, 0)
    return thin


def _eroded(image: Array) -> Array:
    cross = ndimage.generate_binary_structure(image.ndim, 1)
    return ndimage.minimum_filter(image, footprint=cross, mode="constant", cval=np.inf)


def _opened(image: Array) -> Array:
    return ndimage.maximum_filter(_eroded(image), 3, mode="constant", cval=-np.inf)


def expected(name: str, s: Seen, how: dict, weights: Array | None = None) -> float:
    """The loss ``name`` of one head when the training is done."""
    plain = {
        "dice": dice,
        "generalised_dice": generalised_dice,
        "tversky": tversky,
        "focal_tversky": focal_tversky,
    }
    if name in plain:
        return plain[name](s, how)
    if name == "focal":
        return focal(s, how, weights)
    if name == "topk_ce":
        return worst(s, how, weights)
    second = worst(s, how, weights) if name == "dice_topk" else cross_entropy(s, how, weights)
    base = how.get("dice_weight", 1.0) * dice(s, how) + how.get("ce_weight", 1.0) * second
    added = {"boundary": boundary, "hausdorff": hausdorff, "cldice": cldice}
    return base + how.get("added_weight", 1.0) * added[name](s, how) if name in added else base
