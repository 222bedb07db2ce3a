"""Images of one series that were taken or reconstructed in two ways never share a volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage

import medseg
from medseg.io.dicom.objects import Frame
from medseg.io.dicom.repeats import partition
from medseg.io.dicom.series import split
from tests.io.dicom import made

DEPTHS = (0, 2.5, 5, 7.5)
# Which of the two images at each position was counted first: no order for which one could ask.
SCRAMBLED = (0, 1, 1, 0)
PAIRS = {
    "KVP": (("80", "140"), ("80 kVp", "140 kVp")),
    "ConvolutionKernel": (("B30f", "B70f"), ("kernel B30f", "kernel B70f")),
    "FlipAngle": (("5", "17.5"), ("flip angle 5", "flip angle 17.5")),
    "InversionTime": (("100", "900"), ("TI 100 ms", "TI 900 ms")),
    "ContrastBolusAgent": (("", made.CANARY), ("no contrast agent", "contrast agent 2 of 2")),
    "SequenceName": (("*fl3d1", made.CANARY), ("sequence 1 of 2", "sequence 2 of 2")),
    "ScanOptions": (("FS", "PFP"), ("scan options 1 of 2", "scan options 2 of 2")),
    "FilterType": (("FLAT", "WEDGE"), ("filter 1 of 2", "filter 2 of 2")),
}
Shuffle = Callable[[list[Frame]], list[Frame]]


def _write(folder: Path, pairs: dict[str, tuple[Any, Any]], counter: str, order: tuple[int, ...]) -> Path:
    """Two images at each position, of values 30 and 70, with a counter that says which came first."""
    folder.mkdir()
    for k, swapped in enumerate(order):
        for which, value in enumerate((30, 70)):
            facts = {name: both[which] for name, both in pairs.items()}
            facts[counter] = 2 * k + 1 + (which ^ swapped)
            if counter == "ContentTime":
                facts[counter] = f"1015{facts[counter]:02d}"
            facts["ImagePositionPatient"] = [1.5, -2.5, 40 + 3 * k]
            item = made.dataset(np.full((5, 7), value, np.int16), PatientName=made.CANARY, **facts)
            made.save(item, folder / f"{k}{which}.dcm")
    return folder


@pytest.mark.parametrize("counter", ["InstanceNumber", "ContentTime"])
@pytest.mark.parametrize("name", PAIRS)
def test_two_settings_are_two_series_in_whatever_order_their_images_were_counted(
    tmp_path: Path, name: str, counter: str
) -> None:
    both, labels = PAIRS[name]
    folder = _write(tmp_path / "scan", {name: both}, counter, SCRAMBLED)
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(folder)
    assert refusal.value.code == "several-series"
    assert made.CANARY not in str(refusal.value)
    listed = [series.summary for series in medseg.inspect(folder).series]
    assert [summary.rpartition(", ")[2] for summary in listed] == list(labels)
    for number, value in ((1, 30), (2, 70)):
        volume = medseg.read(folder, series=number)
        assert volume.data.shape == (1, 7, 5, 4)
        assert (volume.data == value).all()


def test_a_setting_counts_before_the_time(tmp_path: Path) -> None:
    order = (0, 0, 0, 0)
    folder = _write(tmp_path / "scan", {"KVP": ("80", "140")}, "InstanceNumber", order)
    assert all("volume" not in series.summary for series in medseg.inspect(folder).series)


@pytest.mark.parametrize(
    ("kernels", "labels"),
    [
        (("B30f", "DOE"), ("kernel B30f", "kernel 2 of 2")),
        ((made.CANARY, "STANDARD"), ("kernel 1 of 2", "kernel STANDARD")),
        ((["I30f", "2"], ["I30f", "3"]), ("kernel I30f/2", "kernel I30f/3")),
        ((["I30f", "DOE"], ["I30f", "ROE"]), ("kernel 1 of 2", "kernel 2 of 2")),
        (("FC08", "FC51"), ("kernel FC08", "kernel FC51")),
        (("", "Br40d"), ("no kernel", "kernel Br40d")),
    ],
)
def test_kernels_are_called_by_codes_alone(
    tmp_path: Path, kernels: tuple[Any, Any], labels: tuple[str, str]
) -> None:
    folder = _write(tmp_path / "scan", {"ConvolutionKernel": kernels}, "InstanceNumber", SCRAMBLED)
    listed = [series.summary for series in medseg.inspect(folder).series]
    assert [summary.rpartition(", ")[2] for summary in listed] == list(labels)


@pytest.mark.parametrize("name", ["KVP", "ConvolutionKernel", "FlipAngle"])
@pytest.mark.parametrize("told", ["InstanceNumber", "ContentTime", "TemporalPositionIdentifier"])
def test_numbers_that_would_mix_settings_are_not_believed(make: Any, name: str, told: str) -> None:
    # Two positions have one image more of the second value: no value has all positions equally often.
    values = [(1, 2, 2), (2, 1, 2), (1, 1, 2), (1, 2, 1)]
    frames = [
        make.frame(
            2.5 * z,
            settings=((name, float(value)),),
            moment=((told, float(t if told.startswith("Temporal") else 3 * z + t)),),
        )
        for z, row in enumerate(values)
        for t, value in enumerate(row)
    ]
    (part,) = partition(frames)
    assert len(part.frames) == 12
    plain = [
        make.frame(2.5 * z, moment=f.moment) for f, z in zip(frames, np.repeat(range(4), 3), strict=True)
    ]
    assert [len(part.frames) for part in partition(plain)] == [4, 4, 4]


def test_inversion_times_that_differ_at_each_position_leave_the_order_of_time(
    make: Any, shuffled: Shuffle
) -> None:
    frames = [
        make.frame(
            2.5 * z,
            settings=(("InversionTime", 100.0 + 80 * t + 7 * z),),
            moment=(("TriggerTime", 1000.0 * t + 30 * z),),
        )
        for z in range(4)
        for t in range(3)
    ]
    parts = partition(shuffled(frames))
    assert [part.volume for part in parts] == [(1, 3), (2, 3), (3, 3)]
    for t, part in enumerate(parts):
        assert {id(f) for f in part.frames} == {id(f) for f in frames[t::3]}


def test_settings_that_go_from_position_to_position_part_nothing(make: Any, shuffled: Shuffle) -> None:
    stack = [make.frame(2.5 * z, settings=(("FlipAngle", 15.0 + z % 2),)) for z in range(6)]
    assert len(split(shuffled(stack))) == 1
    volumes = [
        make.frame(2.5 * z, settings=(("FlipAngle", 15.0 + z),), moment=(("AcquisitionNumber", float(t)),))
        for z in range(6)
        for t in range(2)
    ]
    assert [part.volume for part in partition(shuffled(volumes))] == [(1, 2), (2, 2)]


def test_rounding_is_no_setting(make: Any) -> None:
    frames = [
        make.frame(2.5 * z, settings=(("KVP", 120 + 0.01 * t),), moment=(("AcquisitionNumber", float(t)),))
        for z in range(4)
        for t in range(2)
    ]
    assert [part.volume for part in partition(frames)] == [(1, 2), (2, 2)]


def test_two_settings_and_times_are_all_told_apart(make: Any, shuffled: Shuffle) -> None:
    volumes = [
        make.stack(
            *DEPTHS,
            settings=(("KVP", kvp), ("ConvolutionKernel", kernel)),
            kernel=f"B{kernel:g}f",
            moment=(("TemporalPositionIdentifier", float(t)),),
        )
        for kvp in (80.0, 140.0)
        for kernel in (30.0, 70.0)
        for t in range(2)
    ]
    found = split(shuffled([f for volume in volumes for f in volume]))
    assert {frozenset(map(id, s.frames)) for s in found} == {frozenset(map(id, v)) for v in volumes}
    assert all("kVp, kernel B" in s.summary and "volume" in s.summary for s in found)


def test_settings_of_other_range_are_stacks_of_their_own(make: Any, shuffled: Shuffle) -> None:
    high, low = (
        make.stack(*range(0, stop, 3), settings=(("KVP", kvp),)) for stop, kvp in ((30, 140.0), (27, 80.0))
    )
    found = split(shuffled(high + low))
    assert [len(s.frames) for s in found] == [9, 10]
    assert "80 kVp" in found[0].summary


@pytest.mark.parametrize(("sequence", "repeats"), [("*ep_b1000#{}", True), ("*ep_b{}", False)])
def test_directions_of_diffusion_are_volumes_of_one_sequence(
    tmp_path: Path, sequence: str, repeats: bool
) -> None:
    names = (sequence.format(1), sequence.format(2))
    folder = _write(tmp_path / "scan", {"SequenceName": names}, "InstanceNumber", (0, 0, 0, 0))
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(folder)
    assert (refusal.value.code == "four-dimensional") is repeats


def _group(**sequences: dict[str, Any]) -> Dataset:
    group = Dataset()
    for name, facts in sequences.items():
        item = Dataset()
        for key, value in facts.items():
            setattr(item, key, value)
        setattr(group, name, Sequence([item]))
    return group


@pytest.mark.parametrize(
    ("sop_class", "groups", "labels"),
    [
        (
            EnhancedCTImageStorage,
            [{"CTXRayDetailsSequence": {"KVP": kvp}} for kvp in ("80", "140")],
            ("80 kVp", "140 kVp"),
        ),
        (
            EnhancedCTImageStorage,
            [{"CTReconstructionSequence": {"ConvolutionKernel": kernel}} for kernel in ("B30f", "B70f")],
            ("kernel B30f", "kernel B70f"),
        ),
        (
            EnhancedMRImageStorage,
            [{"MRTimingAndRelatedParametersSequence": {"FlipAngle": angle}} for angle in ("5", "20")],
            ("flip angle 5", "flip angle 20"),
        ),
        (
            EnhancedMRImageStorage,
            [{"MRModifierSequence": {"InversionTimes": time}} for time in (100.0, 900.0)],
            ("TI 100 ms", "TI 900 ms"),
        ),
    ],
)
def test_objects_of_many_frames_state_settings_for_each(
    tmp_path: Path, sop_class: str, groups: list[dict[str, Any]], labels: tuple[str, str]
) -> None:
    order = [(k, which ^ SCRAMBLED[k]) for k in range(4) for which in range(2)]
    described = []
    for k, which in order:
        place = {"ImagePositionPatient": [1.5, -2.5, 40 + 3 * k]}
        described.append(_group(PlanePositionSequence=place, **groups[which]))
    shared = _group(
        PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        PixelMeasuresSequence={"PixelSpacing": [0.75, 1.25], "SliceThickness": "3"},
    )
    pixels = np.array([np.full((5, 7), (30, 70)[which], np.int16) for _, which in order])
    item = made.dataset(
        pixels,
        SOPClassUID=sop_class,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(described),
    )
    item.file_meta.MediaStorageSOPClassUID = sop_class
    path = made.save(item, tmp_path / "enhanced.dcm")
    listed = [series.summary for series in medseg.inspect(path).series]
    assert [summary.rpartition(", ")[2] for summary in listed] == list(labels)
    for number, value in ((1, 30), (2, 70)):
        assert (medseg.read(path, series=number).data == value).all()


def test_a_setting_that_is_no_number_says_nothing(tmp_path: Path) -> None:
    folder = _write(tmp_path / "scan", {"KVP": ("80", "90")}, "InstanceNumber", (0, 0, 0, 0))
    for path in folder.iterdir():
        content = path.read_bytes()
        for number, name in ((b"80", b"DO"), (b"90", b"JA")):
            content = content.replace(
                b"\x18\x00\x60\x00DS\x02\x00" + number, b"\x18\x00\x60\x00DS\x02\x00" + name
            )
        assert b"DS\x02\x00DO" in content or b"DS\x02\x00JA" in content
        path.write_bytes(content)
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(folder)
    assert refusal.value.code == "four-dimensional"
    assert "DO" not in str(refusal.value)
