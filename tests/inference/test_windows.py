"""Windows cover the scan, evenly, and weigh as MONAI's do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map

from medseg.inference.windows import axis_starts, gaussian_window, window_starts


@given(patch=st.integers(1, 40), more=st.integers(0, 200), overlap=st.floats(0, 0.99))
def test_windows_cover_the_axis_flush_with_both_ends_and_overlap_enough(
    patch: int, more: int, overlap: float
) -> None:
    size = patch + more
    starts = axis_starts(size, patch, overlap)
    assert starts[0] == 0
    assert starts[-1] == size - patch
    steps = np.diff(starts)
    assert (steps >= 1).all()
    # Rounding to whole voxels may cost one; the windows still meet.
    assert (steps <= max(1, patch * (1 - overlap) + 1)).all()
    assert (steps <= patch).all()
    if len(steps):
        assert steps.max() - steps.min() <= 1


def test_windows_of_several_axes_are_every_combination() -> None:
    starts = window_starts((10, 4, 7), (4, 4, 3), 0.5)
    assert starts == [(x, 0, z) for x in (0, 2, 4, 6) for z in (0, 1, 2, 3, 4)]


def test_an_axis_shorter_than_the_patch_is_refused_with_the_cure() -> None:
    with pytest.raises(ValueError, match="axis of 5 voxels is shorter than the patch of 8: pad"):
        axis_starts(5, 8, 0.5)
    with pytest.raises(ValueError, match=r"overlap 1\.0"):
        axis_starts(8, 8, 1.0)


@pytest.mark.parametrize("patch", [(8, 8, 8), (9, 4, 17), (32, 24), (1, 5, 6)])
@pytest.mark.parametrize("sigma", [0.125, 0.3])
def test_weights_are_monais_gaussian(patch: tuple[int, ...], sigma: float) -> None:
    expected = compute_importance_map(patch, mode="gaussian", sigma_scale=sigma).numpy()
    found = gaussian_window(patch, sigma)
    assert found.dtype == np.float32
    assert found.min() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
