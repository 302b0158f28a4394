import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from medmm_lib.data import dicom
from medmm_lib.data.loaded import DataError


def real(name):
    """One of the real files that pydicom ships."""
    return get_testdata_file(name, download=False)


@pytest.mark.parametrize(
    ("name", "modality", "plane", "size"),
    [("CT_small.dcm", "CT", "axial", (128, 128)), ("MR_small.dcm", "MR", "axial", (64, 64))],
)
def test_real_scans_are_read(name, modality, plane, size):
    scan = dicom.read(real(name))
    assert (scan.modality, scan.plane) == (modality, plane)
    assert scan.image.mode == "L"
    assert scan.image.width == size[0]
    assert np.asarray(scan.image).std() > 20


@pytest.mark.parametrize("name", ["rtplan.dcm", "rtdose.dcm", "test-SR.dcm", "liver_1frame.dcm", "waveform_ecg.dcm"])
def test_what_is_no_picture_is_refused(name):
    with pytest.raises(DataError, match="holds no picture"):
        dicom.read(real(name))


def test_what_is_no_dicom_is_refused(tmp_path):
    (tmp_path / "scan.dcm").write_bytes(b"hello" * 100)
    with pytest.raises(DataError, match="no DICOM"):
        dicom.read(tmp_path / "scan.dcm")


def test_a_truncated_picture_is_refused():
    with pytest.raises(DataError, match="can't be decoded"):
        dicom.read(real("MR_truncated.dcm"))


@pytest.fixture
def made(tmp_path):
    """A file like CT_small.dcm with other values."""

    def write(pixels=None, **tags):
        dataset = pydicom.dcmread(real("CT_small.dcm"))
        if pixels is not None:
            dataset.Rows, dataset.Columns = pixels.shape[-2:]
            dataset.PixelData = pixels.astype(np.int16).tobytes()
            if pixels.ndim == 3:
                dataset.NumberOfFrames = len(pixels)
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(tmp_path / "made.dcm")
        return tmp_path / "made.dcm"

    return write


def test_values_are_rescaled_and_windowed(made):
    pixels = np.array([[0, 500], [1000, 2000]])
    scan = dicom.read(made(pixels, RescaleIntercept=-1000, RescaleSlope=1, WindowCenter=0.5, WindowWidth=1001))
    assert np.asarray(scan.image).tolist() == [[0, 0], [128, 255]]


def test_a_window_that_is_left_empty_is_none(made):
    scan = dicom.read(made(WindowCenter=None, WindowWidth=None))
    assert np.asarray(scan.image).std() > 20


def test_inverted_greys_are_turned_over(made):
    pixels = np.array([[0, 1000], [0, 1000]])
    tags = {"RescaleIntercept": 0, "RescaleSlope": 1, "WindowCenter": 500.5, "WindowWidth": 1001}
    scan = dicom.read(made(pixels, PhotometricInterpretation="MONOCHROME1", **tags))
    assert np.asarray(scan.image).tolist() == [[255, 0], [255, 0]]


def test_of_several_frames_the_middle_one_is_shown_and_the_reader_told(made):
    pixels = np.stack([np.full((4, 4), value) for value in (0, 100, 900)])
    pixels[:, 0, 0] = 1000
    scan = dicom.read(made(pixels, RescaleIntercept=0, RescaleSlope=1, WindowCenter=500.5, WindowWidth=1001))
    assert np.asarray(scan.image)[1, 1] == round(255 * 0.1)
    assert scan.frame == (2, 3)


def test_pixels_that_are_not_square_are_stretched(made):
    scan = dicom.read(made(PixelSpacing=[2.0, 1.0]))
    assert scan.image.size == (128, 256)


@pytest.mark.parametrize(
    ("tags", "plane", "region"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "BodyPartExamined": "BRAIN"}, "coronal", "Head"),
        ({"ImageOrientationPatient": None, "ViewPosition": "PA", "BodyPartExamined": "CHEST"}, "frontal", "Thorax"),
        ({"ImageOrientationPatient": None, "ViewPosition": "LL", "BodyPartExamined": ""}, "lateral", None),
    ],
)
def test_plane_and_part_are_told_by_tags(made, tags, plane, region):
    scan = dicom.read(made(**tags))
    assert (scan.plane, scan.location_category) == (plane, region)


def test_nothing_says_whose_it_is(made):
    scan = dicom.read(made(PatientName="Jansen^Piet", PatientID="12345", PatientBirthDate="19500101"))
    assert "Jansen" not in repr(vars(scan))
    assert scan.image.info == {}


@pytest.mark.parametrize(
    ("tags", "warned"),
    [
        ({"BurnedInAnnotation": "YES"}, True),
        ({"BurnedInAnnotation": "NO", "Modality": "US"}, False),
        ({"Modality": "US"}, True),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, True),
        ({"ImageType": ["ORIGINAL", "PRIMARY"]}, False),
    ],
)
def test_pictures_that_may_hold_names_are_told(made, tags, warned):
    assert dicom.read(made(**tags)).names_in_picture == warned


def test_a_palette_is_looked_up():
    dataset = pydicom.dcmread(real("examples_palette.dcm"))
    true = np.asarray(pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset), dtype=float).mean(axis=-1)
    shown = np.asarray(dicom.read(real("examples_palette.dcm")).image, dtype=float)
    assert np.corrcoef(true.ravel(), shown.ravel())[0, 1] > 0.95


def test_padding_does_not_dim_the_picture(made):
    pixels = pydicom.dcmread(real("CT_small.dcm")).pixel_array.copy()
    pixels[:40] = -2000
    padded = dicom.read(made(pixels, PixelPaddingValue=-2000, WindowCenter=None, WindowWidth=None))
    assert np.asarray(padded.image)[41:].min() < 20


@pytest.mark.parametrize("spacing", [[1, 0], [0, 1], [1], None])
def test_a_spacing_that_says_nothing_is_left_alone(made, spacing):
    assert dicom.read(made(PixelSpacing=spacing)).image.size == (128, 128)
