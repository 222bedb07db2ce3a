"""The DICOM tags medseg reads, by their keywords, and how those are stored that are no text.

A tag is an int, ``0xGGGGEEEE``. Source: DICOM PS3.6, Registry of DICOM Data Elements.
"""

from __future__ import annotations

# File meta, character set, identity.
MediaStorageSOPClassUID = 0x00020002
TransferSyntaxUID = 0x00020010
SpecificCharacterSet = 0x00080005
ImageType = 0x00080008
SOPClassUID = 0x00080016
SOPInstanceUID = 0x00080018
AcquisitionDateTime = 0x0008002A
AcquisitionTime = 0x00080032
ContentTime = 0x00080033
Modality = 0x00080060
PatientID = 0x00100020
StudyInstanceUID = 0x0020000D
SeriesInstanceUID = 0x0020000E
SeriesNumber = 0x00200011
FrameOfReferenceUID = 0x00200052

# Pixel layout.
SamplesPerPixel = 0x00280002
PhotometricInterpretation = 0x00280004
PlanarConfiguration = 0x00280006
NumberOfFrames = 0x00280008
Rows = 0x00280010
Columns = 0x00280011
BitsAllocated = 0x00280100
BitsStored = 0x00280101
HighBit = 0x00280102
PixelRepresentation = 0x00280103
LossyImageCompression = 0x00282110
ModalityLUTSequence = 0x00283000
RescaleIntercept = 0x00281052
RescaleSlope = 0x00281053
PixelPaddingValue = 0x00280120
PixelData = 0x7FE00010

# Where a slice lies.
ImagePositionPatient = 0x00200032
ImageOrientationPatient = 0x00200037
PixelSpacing = 0x00280030
ImagerPixelSpacing = 0x00181164
SliceThickness = 0x00180050
SpacingBetweenSlices = 0x00180088

# What tells images at one position apart.
EchoTime = 0x00180081
DiffusionBValue = 0x00189087
ComplexImageComponent = 0x00089208
TemporalPositionIdentifier = 0x00200100
TemporalPositionIndex = 0x00209128
AcquisitionNumber = 0x00200012
TriggerTime = 0x00181060
FrameReferenceTime = 0x00541300
InstanceNumber = 0x00200013
Manufacturer = 0x00080070

# How an image was taken or reconstructed.
KVP = 0x00180060
ConvolutionKernel = 0x00181210
FlipAngle = 0x00181314
InversionTime = 0x00180082
InversionTimes = 0x00189079
ContrastBolusAgent = 0x00180010
FilterType = 0x00181160
SequenceName = 0x00180024
PulseSequenceName = 0x00189005
ScanOptions = 0x00180022

# Functional groups of multi-frame objects.
SharedFunctionalGroupsSequence = 0x52009229
PerFrameFunctionalGroupsSequence = 0x52009230
PlanePositionSequence = 0x00209113
PlaneOrientationSequence = 0x00209116
PixelMeasuresSequence = 0x00289110
PixelValueTransformationSequence = 0x00289145
FrameContentSequence = 0x00209111
StackID = 0x00209056
InStackPositionNumber = 0x00209057
FrameAcquisitionNumber = 0x00209156
FrameReferenceDateTime = 0x00189151
FrameAcquisitionDateTime = 0x00189074
DimensionIndexValues = 0x00209157
DimensionIndexSequence = 0x00209222
DimensionIndexPointer = 0x00209165
DimensionOrganizationType = 0x00209311
CTImageFrameTypeSequence = 0x00189329
MRImageFrameTypeSequence = 0x00189226
PETFrameTypeSequence = 0x00189751
FrameType = 0x00089007
MREchoSequence = 0x00189114
EffectiveEchoTime = 0x00189082
MRDiffusionSequence = 0x00189117
TemporalPositionSequence = 0x00209310
TemporalPositionTimeOffset = 0x0020930D
CardiacSynchronizationSequence = 0x00189118
NominalCardiacTriggerDelayTime = 0x00209153
CTXRayDetailsSequence = 0x00189325
CTReconstructionSequence = 0x00189314
MRTimingAndRelatedParametersSequence = 0x00189112
MRModifierSequence = 0x00189115
PlanePositionSlideSequence = 0x0048021A
TotalPixelMatrixColumns = 0x00480006

# Segmentations.
SegmentationType = 0x00620001
MaximumFractionalValue = 0x0062000E
SegmentSequence = 0x00620002
SegmentNumber = 0x00620004
SegmentLabel = 0x00620005
SegmentIdentificationSequence = 0x0062000A
ReferencedSegmentNumber = 0x0062000B
RecommendedDisplayCIELabValue = 0x0062000D
SegmentedPropertyTypeCodeSequence = 0x0062000F
CodeValue = 0x00080100
CodingSchemeDesignator = 0x00080102

# Structure sets.
StructureSetROISequence = 0x30060020
ROINumber = 0x30060022
ROIName = 0x30060026
ROIContourSequence = 0x30060039
ROIDisplayColor = 0x3006002A
ContourSequence = 0x30060040
ContourImageSequence = 0x30060016
ContourGeometricType = 0x30060042
NumberOfContourPoints = 0x30060046
ContourData = 0x30060050
ReferencedROINumber = 0x30060084
ReferencedFrameOfReferenceSequence = 0x30060010
RTReferencedStudySequence = 0x30060012
RTReferencedSeriesSequence = 0x30060014
RTROIObservationsSequence = 0x30060080
RTROIIdentificationCodeSequence = 0x30060086

# References.
ReferencedSeriesSequence = 0x00081115
ReferencedSOPInstanceUID = 0x00081155
ReferencedImageSequence = 0x00081140

# Media directory.
DirectoryRecordSequence = 0x00041220
ReferencedFileID = 0x00041500
RecordInUseFlag = 0x00041410
DirectoryRecordType = 0x00041430
OffsetOfTheNextDirectoryRecord = 0x00041400
OffsetOfReferencedLowerLevelDirectoryEntity = 0x00041420

# The value representation of those stored as binary numbers: implicit data sets do not tell it.
BINARY: dict[int, bytes] = {
    SamplesPerPixel: b"US",
    PlanarConfiguration: b"US",
    Rows: b"US",
    Columns: b"US",
    BitsAllocated: b"US",
    BitsStored: b"US",
    HighBit: b"US",
    PixelRepresentation: b"US",
    PixelData: b"OW",
    DiffusionBValue: b"FD",
    TemporalPositionIndex: b"UL",
    InStackPositionNumber: b"UL",
    FrameAcquisitionNumber: b"US",
    DimensionIndexValues: b"UL",
    DimensionIndexPointer: b"AT",
    EffectiveEchoTime: b"FD",
    InversionTimes: b"FD",
    TemporalPositionTimeOffset: b"FD",
    NominalCardiacTriggerDelayTime: b"FD",
    MaximumFractionalValue: b"US",
    SegmentNumber: b"US",
    ReferencedSegmentNumber: b"US",
    RecommendedDisplayCIELabValue: b"US",
    RecordInUseFlag: b"US",
    OffsetOfTheNextDirectoryRecord: b"UL",
    OffsetOfReferencedLowerLevelDirectoryEntity: b"UL",
    PixelPaddingValue: b"US",  # or signed: as PixelRepresentation says
    TotalPixelMatrixColumns: b"UL",
    0x0019100A: b"US",  # SIEMENS MR HEADER: NumberOfImagesInMosaic
    0x20011003: b"FL",  # Philips Imaging DD 001: b-value
    0x0043102F: b"SS",  # GEMS_PARM_01: type of raw data
}


def stored_as(tag: int) -> bytes:
    """The value representation of binary numbers, b"" for text; of private elements in whatever block."""
    return BINARY.get(tag & 0xFFFF_00FF | 0x1000 if tag >> 16 & 1 else tag, b"")


def keyword(tag: int) -> str:
    """What messages call a field: its keyword and its tag."""
    name = next((name for name, value in globals().items() if value == tag), "private field")
    return f"{name} ({tag >> 16:04X},{tag & 0xFFFF:04X})"
