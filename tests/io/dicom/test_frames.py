"""Frames of classic and enhanced objects, against the attributes they were made of and against pydicom."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence

from medseg.io.dicom.elements import BadHeader, read_dataset
from medseg.io.dicom.files import read_source
from medseg.io.dicom.frames import frames_of
from medseg.io.dicom.objects import Frame, SetAside
from medseg.io.dicom.sources import FileSource

CANARY = "CANARY^NAME"
ORIENTATION = [0.96, 0.28, 0.0, -0.224, 0.768, 0.6]


def item(**values: Any) -> Dataset:
    made = Dataset()
    with pydicom.config.disable_value_validation():
        for keyword, value in values.items():
            setattr(made, keyword, Sequence(value) if isinstance(value, list) and _is_items(value) else value)
    return made


def _is_items(value: list[Any]) -> bool:
    return bool(value) and isinstance(value[0], Dataset)


def classic(**values: Any) -> Dataset:
    known = {
        "SOPClassUID": uid.MRImageStorage, "SOPInstanceUID": "1.2.3", "PatientName": CANARY, "Modality": "MR",
        "SeriesInstanceUID": "1.2.4", "SeriesNumber": 7, "FrameOfReferenceUID": "1.2.5",
        "ImagePositionPatient": [-1.5, 2.25, 1e-3], "ImageOrientationPatient": ORIENTATION,
        "PixelSpacing": [0.75, 1.25], "SliceThickness": 3, "SpacingBetweenSlices": 3.5,
        "Rows": 2, "Columns": 3, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0,
        "PixelData": bytes(12),
    }  # fmt: skip
    return item(**{k: v for k, v in {**known, **values}.items() if v is not None})


def enhanced(frames: list[Dataset], shared: Dataset, **values: Any) -> Dataset:
    known = {
        "SOPClassUID": uid.EnhancedMRImageStorage, "NumberOfFrames": len(frames),
        "PerFrameFunctionalGroupsSequence": frames, "SharedFunctionalGroupsSequence": [shared],
        "ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None,
        "PixelData": bytes(12 * len(frames)),
    }  # fmt: skip
    return classic(**{**known, **values})


@pytest.fixture
def source_of(tmp_path: Path) -> Any:
    def write(dataset: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> FileSource:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", uid.MRImageStorage)
        meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = "1.2.3", syntax
        file = io.BytesIO()
        with pydicom.config.disable_value_validation():
            whole = FileDataset(file, dataset, file_meta=meta, preamble=bytes(128))
            if "PixelData" in whole:
                whole["PixelData"].VR = "OW"
            pydicom.dcmwrite(file, whole, enforce_file_format=True)
        (tmp_path / "a.dcm").write_bytes(file.getvalue())
        return FileSource.of(tmp_path / "a.dcm")

    return write


@pytest.fixture
def frames_from(source_of: Any) -> Any:
    def read(dataset: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> tuple[Frame, ...]:
        source = source_of(dataset, syntax)
        found = frames_of(source, read_dataset(source))
        assert isinstance(found, tuple)
        return found

    return read


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian]
)
def test_a_classic_object_is_one_frame(frames_from: Any, syntax: str) -> None:
    (frame,) = frames_from(classic(RescaleSlope=0.5, RescaleIntercept=-1000, EchoTime=4.9), syntax)
    np.testing.assert_array_equal(frame.position, [-1.5, 2.25, 1e-3])
    np.testing.assert_array_equal([*frame.row, *frame.column], ORIENTATION)
    assert frame.pixel_spacing == (0.75, 1.25)
    assert (frame.thickness, frame.step, frame.slope, frame.intercept) == (3, 3.5, 0.5, -1000)
    assert (frame.echo, frame.b_value, frame.component, frame.spacing_measured) == (4.9, None, "", True)
    image = frame.image
    assert (image.rows, image.columns, image.frames, image.samples) == (2, 3, 1, 1)
    assert (image.bits, image.modality, image.series_number) == ((16, 12, 11, False), "MR", 7)
    assert (image.series_uid, image.frame_of_reference) == ("1.2.4", "1.2.5")
    assert image.source.read(image.pixels_at, 12) == bytes(12)


@pytest.mark.parametrize(
    ("values", "slope", "intercept"),
    [
        ({}, 1, 0),
        ({"RescaleSlope": 2}, 2, 0),
        ({"RescaleSlope": 0, "RescaleIntercept": 4}, np.nan, 4),
        ({"RescaleSlope": "x" + CANARY[:3]}, np.nan, np.nan),
    ],
)
def test_rescale_is_nan_where_it_is_no_slope(
    frames_from: Any, values: dict[str, Any], slope: float, intercept: float
) -> None:
    made = classic()
    for keyword, value in values.items():
        made.add_new(keyword, "LO" if isinstance(value, str) else "DS", value)
    (frame,) = frames_from(made)
    np.testing.assert_equal((frame.slope, frame.intercept), (slope, intercept))


def test_what_is_no_code_of_a_known_list_is_dropped(frames_from: Any) -> None:
    (frame,) = frames_from(
        classic(
            Modality="DOE",
            SeriesInstanceUID=CANARY,
            FrameOfReferenceUID=CANARY,
            PhotometricInterpretation="DOE",
            ImageType=["ORIGINAL", CANARY, "", "M_FFE"],
        )
    )
    image = frame.image
    assert (image.modality, image.frame_of_reference, image.photometric) == (None, "", "")
    assert (image.series_uid, image.sop_uid) == ("", "1.2.3")
    assert frame.image_type == ("ORIGINAL", "", "", "M_FFE")
    (other,) = frames_from(classic(SeriesInstanceUID=CANARY + "2"))
    assert (other.image.series_uid, other.image.series == image.series) == ("", False)
    for absent in (None, "", "  "):
        (other,) = frames_from(classic(SeriesInstanceUID=absent))
        assert (other.image.series_uid, other.image.series) == ("", None)
    assert "CANARY" not in repr(frame)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Rows": 0}, r"Rows \(0028,0010\) is 0"),
        ({"Rows": None}, "Rows"),
        ({"NumberOfFrames": -3}, "NumberOfFrames"),
        ({"BitsAllocated": None}, "BitsAllocated"),
        ({"BitsStored": 17}, "17 stored"),
        ({"HighBit": 10}, "10 the highest"),
        ({"ImagePositionPatient": [1, 2]}, "2 numbers, expected 3"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "3 numbers, expected 6"),
        ({"PixelSpacing": [1]}, "1 numbers, expected 2"),
    ],
)
def test_places_and_pixels_that_contradict_themselves_are_refused(
    frames_from: Any, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadHeader, match=message):
        frames_from(classic(**values))


def test_a_detectors_own_spacing_is_not_measured(frames_from: Any) -> None:
    (frame,) = frames_from(classic(ImagerPixelSpacing=[0.75, 1.25]))
    assert not frame.spacing_measured
    (frame,) = frames_from(classic(ImagerPixelSpacing=[0.5, 0.5]))
    assert frame.spacing_measured
    (frame,) = frames_from(classic(PixelSpacing=None))
    assert frame.pixel_spacing is None
    assert not frame.spacing_measured


@pytest.mark.parametrize(
    ("creator", "group", "element", "vr", "value", "b_value"),
    [
        ("SIEMENS MR HEADER", 0x0019, 0x0C, "IS", "750", 750),
        ("Philips Imaging DD 001", 0x2001, 0x03, "FL", 800.0, 800),
        ("GEMS_PARM_01", 0x0043, 0x39, "IS", ["1000000750", "8", "0", "0"], 750),
        ("GEMS_PARM_01", 0x0043, 0x39, "IS", ["700", "8", "0", "0"], 700),
        ("SOMEONE ELSE", 0x0043, 0x39, "IS", ["700", "8", "0", "0"], None),
        ("GEMS_PARM_01", 0x0043, 0x39, "LO", CANARY, None),
    ],
)
@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_b_values_are_found_where_vendors_keep_them(
    frames_from: Any, syntax: str, creator: str, group: int, element: int, vr: str, value: Any, b_value: Any
) -> None:
    made = classic()
    made.private_block(group, "NOT THIS", create=True).add_new(element, "LO", "5")
    made.private_block(group, creator, create=True).add_new(element, vr, value)
    (frame,) = frames_from(made, syntax)
    assert frame.b_value == b_value


def test_the_standards_b_value_goes_before_private_ones(frames_from: Any) -> None:
    made = classic(DiffusionBValue=50.0)
    made.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "750")
    (frame,) = frames_from(made)
    assert frame.b_value == 50


@pytest.mark.parametrize(
    ("words", "component"),
    [
        (["ORIGINAL", "PRIMARY", "M", "ND"], "MAGNITUDE"),
        (["ORIGINAL", "PRIMARY", "P", "ND"], "PHASE"),
        (["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"], "PHASE"),
        (["ORIGINAL", "PRIMARY", "R_IR", "R", "IR"], "REAL"),
        (["ORIGINAL", "PRIMARY", "IMAGINARY"], "IMAGINARY"),
        (["DERIVED", "PRIMARY", "MPR"], ""),
        (["P", "M"], ""),
    ],
)
def test_the_component_is_taken_from_the_words_vendors_append(
    frames_from: Any, words: list[str], component: str
) -> None:
    (frame,) = frames_from(classic(ImageType=words))
    assert frame.component == component


def test_the_component_of_ge_stands_in_a_private_element(frames_from: Any) -> None:
    for number, component in enumerate(("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")):
        made = classic(ImageType=["ORIGINAL", "PRIMARY", "OTHER"])
        made.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", number)
        (frame,) = frames_from(made)
        assert frame.component == component


def test_moments_are_numbers_most_telling_first(frames_from: Any) -> None:
    made = classic(
        TemporalPositionIdentifier=3, AcquisitionNumber=2, TriggerTime=12.5, InstanceNumber=9,
        AcquisitionTime="101112.25", ContentTime="bad " + CANARY, AcquisitionDateTime="20200229101112.5",
    )  # fmt: skip
    (frame,) = frames_from(made)
    told = dict(frame.moment)
    assert list(told) == [
        "TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "AcquisitionDateTime",
        "AcquisitionTime", "InstanceNumber",
    ]  # fmt: skip
    assert told["AcquisitionTime"] == 10 * 3600 + 11 * 60 + 12.25
    assert told["AcquisitionDateTime"] % 86400 == 10 * 3600 + 11 * 60 + 12.5


def measures(**values: Any) -> Dataset:
    return item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=ORIENTATION)],
        PixelMeasuresSequence=[item(PixelSpacing=[0.75, 1.25], SliceThickness=3, SpacingBetweenSlices=3.5)],
        **values,
    )


def test_what_a_frame_says_goes_before_what_all_share(frames_from: Any) -> None:
    shared = measures(
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-5)],
        MREchoSequence=[item(EffectiveEchoTime=4.9)],
    )
    own = [item(PlanePositionSequence=[item(ImagePositionPatient=[n, 0.5, -n])]) for n in range(4)]
    own[2].PixelValueTransformationSequence = Sequence([item(RescaleSlope=0.25, RescaleIntercept=7)])
    own[3].PlaneOrientationSequence = Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])])
    own[3].MREchoSequence = Sequence([item(EffectiveEchoTime=9.8)])
    own[3].PixelMeasuresSequence = Sequence([item(PixelSpacing=[2, 3])])
    found = frames_from(enhanced(own, shared))
    assert [frame.number for frame in found] == [0, 1, 2, 3]
    np.testing.assert_array_equal([f.position for f in found], [[n, 0.5, -n] for n in range(4)])
    assert [(f.slope, f.intercept) for f in found] == [(2, -5), (2, -5), (0.25, 7), (2, -5)]
    assert [f.echo for f in found] == [4.9, 4.9, 4.9, 9.8]
    assert [f.pixel_spacing for f in found] == [(0.75, 1.25)] * 3 + [(2, 3)]
    np.testing.assert_array_equal(found[3].row, [1, 0, 0])
    np.testing.assert_array_equal(found[2].row, ORIENTATION[:3])
    assert found[0].image is found[3].image


def test_frames_tell_their_kind_and_their_moment(frames_from: Any) -> None:
    own = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 0])],
            FrameContentSequence=[
                item(
                    StackID="1",
                    InStackPositionNumber=1,
                    TemporalPositionIndex=n,
                    DimensionIndexValues=[1, n, 4],
                )
            ],
            MRDiffusionSequence=[item(DiffusionBValue=1000.0)],
            MRImageFrameTypeSequence=[
                item(FrameType=["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"], ComplexImageComponent="PHASE")
            ],
        )
        for n in (1, 2)
    ]
    dimensions = [item(DimensionIndexPointer=tag) for tag in (0x00209057, 0x00209128, 0x00189075)]
    found = frames_from(enhanced(own, measures(), DimensionIndexSequence=dimensions))
    assert [dict(f.moment)["TemporalPositionIndex"] for f in found] == [1, 2]
    assert dict(found[1].moment)["DimensionIndexValues 2"] == 2
    assert dict(found[1].moment)["DimensionIndexValues 3"] == 4
    assert "DimensionIndexValues 1" not in dict(found[1].moment)
    assert {(f.b_value, f.component, f.stack) for f in found} == {(1000.0, "PHASE", "1")}
    assert found[0].image_type == ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE")


@pytest.mark.parametrize("count", [1, 5, 2**31 - 1])
def test_a_lying_number_of_frames_is_refused(frames_from: Any, count: int) -> None:
    own = [item(PlanePositionSequence=[item(ImagePositionPatient=[n, 0, 0])]) for n in range(4)]
    with pytest.raises(BadHeader, match=f"NumberOfFrames is {count}, but 4 frames are described"):
        frames_from(enhanced(own, measures(), NumberOfFrames=count))


def test_a_loop_that_describes_no_frames_is_one_frame(frames_from: Any) -> None:
    (frame,) = frames_from(classic(NumberOfFrames=2**31 - 1, Rows=65535, Columns=65535))
    assert frame.image.frames == 2**31 - 1


def test_segmentations_give_the_frames_of_their_segments(frames_from: Any) -> None:
    own = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, n])],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=n + 1)],
        )
        for n in range(2)
    ]
    made = enhanced(own, measures(), SOPClassUID=uid.SegmentationStorage, Modality="SEG")
    found = frames_from(made)
    assert [(f.segment, f.position[2]) for f in found] == [(1, 0), (2, 1)]


@pytest.mark.parametrize(
    ("sop_class", "code"),
    [
        (uid.SegmentationStorage, "segmentation"),
        ("1.2.840.10008.5.1.4.1.1.66.7", "segmentation"),
        (uid.RTStructureSetStorage, "structure-set"),
        (uid.RTDoseStorage, "dose"),
        (uid.RTPlanStorage, "plan"),
        (uid.RTIonPlanStorage, "plan"),
        (uid.RTTreatmentSummaryRecordStorage, "plan"),
        (uid.Comprehensive3DSRStorage, "report"),
        (uid.KeyObjectSelectionDocumentStorage, "report"),
        (uid.GrayscaleSoftcopyPresentationStateStorage, "report"),
        (uid.EncapsulatedPDFStorage, "report"),
        (uid.XRayRadiationDoseSRStorage, "dose-report"),
        (uid.VLWholeSlideMicroscopyImageStorage, "whole-slide"),
        (uid.TwelveLeadECGWaveformStorage, "waveform"),
        (uid.SpatialRegistrationStorage, "not-an-image"),
        (uid.RawDataStorage, "not-an-image"),
        (uid.MRSpectroscopyStorage, "not-an-image"),
        (uid.MediaStorageDirectoryStorage, "directory"),
    ],
)
def test_what_is_no_scan_is_set_aside_by_name(source_of: Any, sop_class: str, code: str) -> None:
    found = read_source(source_of(classic(SOPClassUID=sop_class)))
    assert isinstance(found, SetAside)
    assert found.code == code


@pytest.mark.parametrize(
    "sop_class",
    [
        uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedPETImageStorage,
        uid.SecondaryCaptureImageStorage, uid.UltrasoundMultiFrameImageStorage,
        uid.NuclearMedicineImageStorage,
        uid.DigitalMammographyXRayImageStorageForPresentation, "1.2.3.4.5",
    ],
)  # fmt: skip
def test_images_are_not_set_aside(frames_from: Any, sop_class: str) -> None:
    assert len(frames_from(classic(SOPClassUID=sop_class))) == 1


def test_an_object_without_pixels_is_no_image(source_of: Any) -> None:
    found = read_source(source_of(classic(Rows=None, PixelData=None)))
    assert isinstance(found, SetAside)
    assert found.code == "not-an-image"


def test_real_frames_have_the_geometry_that_pydicom_reads(real_data: Path) -> None:
    paths = [
        *(real_data / "dicom" / "enhanced_mr_qa").rglob("*.dcm"),
        *(real_data / "dicom" / "seg_dcmqi").rglob("mf.dcm"),
        *(real_data / "dicom" / "seg_dcmqi").glob("*.dcm"),
        real_data / "dicom" / "seg_highdicom" / "seg_image_ct_binary_overlap.dcm",
    ]
    assert len(paths) > 6
    for path in paths:
        source, theirs = FileSource.of(path), pydicom.dcmread(path, stop_before_pixels=True)
        found = frames_of(source, read_dataset(source))
        assert isinstance(found, tuple)
        groups = theirs.PerFrameFunctionalGroupsSequence
        assert len(found) == len(groups)
        for frame, own in zip(found, groups, strict=True):
            both = (own, theirs.SharedFunctionalGroupsSequence[0])
            place, plane, size = (
                next(group[name][0] for group in both if name in group)
                for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
            )
            np.testing.assert_array_equal(frame.position, place.ImagePositionPatient)
            np.testing.assert_array_equal([*frame.row, *frame.column], plane.ImageOrientationPatient)
            assert frame.pixel_spacing == tuple(size.PixelSpacing)
