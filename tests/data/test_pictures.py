import io
import re
import struct
import zlib

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from medmm_lib.data import benchmarks, dicom, medpix, mimic_cxr, pictures, roco
from medmm_lib.data.loaded import DataError
from medmm_lib.patient import outlines, report
from tests.data import layout
from tests.data.test_dicom import real
from tests.data.test_mimic_cxr import folder as mimic_folder
from tests.data.test_roco import hub_folder, roco_folder


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, rows=0):
    """A PNG that claims a size, and holds so many black rows."""
    packer, packed = zlib.compressobj(9), []
    for _ in range(rows):
        packed.append(packer.compress(bytes(width + 1)))
    packed.append(packer.flush())
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"".join(packed)) + chunk(b"IEND", b"")


def jpeg(width, height):
    """A JPEG of 8 × 8 pixels whose head claims another size."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


CLAIMS = {
    "a tiny PNG that claims four billion pixels": png(65_000, 65_000),
    "between what Pillow warns of and refuses": png(10_000, 10_000),
    "a long side": png(20_001, 1),
    "a JPEG": jpeg(65_000, 65_000),
}


@pytest.mark.parametrize("content", CLAIMS.values(), ids=CLAIMS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_absurd_sizes_are_told_from_the_head(content):
    assert re.search("too large|exceeds limit", pictures.broken_picture(io.BytesIO(content), whole=False))
    with pytest.raises(pictures.UNREADABLE), pictures.opened(io.BytesIO(content)):
        pass


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(30_000, 30_000, rows=30_000))
    assert bomb.stat().st_size < 2**20
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    assert "bomb.png" in pictures.broken_picture(bomb)
    for read in (report.read_scan, outlines.read):
        with pytest.raises(DataError, match=r"bomb\.png"):
            read(bomb)


def test_pictures_of_real_sizes_are_read():
    for width, height in ((4_800, 6_000), (4_000, 10_000), (pictures.LONGEST_SIDE, 4_000)):
        assert pictures.broken_picture(io.BytesIO(png(width, height)), whole=False) == ""
        assert pictures.too_large(width, height) == ""
    assert pictures.too_large(pictures.LONGEST_SIDE, 4_001)


def test_no_other_format_is_opened_whatever_a_file_is_called(tmp_path):
    picture = tmp_path / "a.png"
    for kind in ("GIF", "EPS", "TIFF", "BMP"):  # Pillow draws EPS with Ghostscript
        Image.new("L", (8, 8)).save(picture, kind)
        assert "can't be decoded" in pictures.broken_picture(picture, whole=False)
        with pytest.raises(DataError, match="is no picture"):
            outlines.read(picture)


def test_a_text_in_a_picture_that_grows_without_end_is_refused(tmp_path):
    text = b"a\0\0" + zlib.compress(bytes(2**24), 9)
    content = png(8, 8, 8).replace(chunk(b"IEND", b""), chunk(b"zTXt", text) + chunk(b"IEND", b""))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png can't be read"):
        report.read_scan(tmp_path / "a.png")
    assert "can't be decoded" in pictures.broken_picture(tmp_path / "a.png")


HUGE = png(9_000, 9_000)


@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_bomb_in_medpix_is_a_skipped_record(tmp_path, part):
    folder = layout.small(tmp_path)
    (folder / part).mkdir(exist_ok=True)
    (folder / part / "T2_a.png").write_bytes(HUGE)
    loaded = medpix.read(folder, max_skipped=0.2)
    [skip] = loaded.report.skipped
    assert (skip.record, loaded.report.images) == ("T2_a", 5)
    assert "T2_a.png is too large: it claims 9,000 × 9,000 pixels" in skip.reason


def test_a_bomb_in_mimic_and_roco_is_a_skipped_record(tmp_path):
    root = mimic_folder(tmp_path / "mimic")
    (root / "files/p10/p10000001/s50/a2.jpg").write_bytes(HUGE)
    [skip] = mimic_cxr.read(root, max_skipped=0.5).report.skipped
    assert (skip.record, "too large" in skip.reason) == ("a2", True)
    root = roco_folder(tmp_path / "roco")
    (root / "test/radiology/images/ROCO_00005.jpg").write_bytes(HUGE)
    [skip] = roco.read(root, max_skipped=0.2).report.skipped
    assert (skip.record, "too large" in skip.reason) == ("ROCO_00005", True)


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ({"bytes": HUGE, "path": None}, "too large"),
        ({"bytes": b"no picture", "path": None}, "can't be decoded"),
        ({"bytes": None, "path": "/etc/hostname"}, "holds no picture"),
        ({"bytes": None, "path": "http://127.0.0.1:9/a.png"}, "holds no picture"),
    ],
)
def test_a_bomb_or_an_address_in_parquet_is_a_skipped_record(tmp_path, stored, told):
    root = hub_folder(tmp_path)
    [file] = (root / "data").glob("test-*.parquet")
    table = pd.read_parquet(file)
    table["image"] = [stored, *table["image"][1:]]
    table.to_parquet(file)
    loaded = roco.read(root, max_skipped=0.2)
    [skip] = loaded.report.skipped
    assert (skip.record, told in skip.reason) == (table["image_id"][0], True)
    assert [row["image"].size for part in loaded.dataset.values() for row in part] == [(8, 8)] * loaded.report.images


def test_a_bomb_in_a_question_set_is_left_out_and_told(tmp_path, caplog):
    (tmp_path / "data").mkdir()
    small = png(8, 8, 8)
    rows = [{"image": {"bytes": one, "path": None}, "question": "Is it?", "answer": "no"} for one in (HUGE, small)]
    for split in benchmarks.SPLITS:
        pd.DataFrame(rows).to_parquet(tmp_path / "data" / f"{split}-0.parquet")
    found = benchmarks.load("vqa_rad", tmp_path, max_unreadable=0.5)
    assert (found.dataset.num_rows, found.removed, found.unreadable) == ({"train": 1, "test": 1}, 0, 2)
    assert "are left out: the picture is too large" in caplog.text
    with pytest.raises(benchmarks.DataError, match=r"2 of 4 questions of vqa_rad .* more than the 5% allowed"):
        benchmarks.load("vqa_rad", tmp_path)


@pytest.fixture
def altered(tmp_path):
    """CT_small.dcm with other values, its pixels left as they are."""

    def write(**tags):
        dataset = pydicom.dcmread(real("CT_small.dcm"))
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(tmp_path / "scan.dcm")
        return tmp_path / "scan.dcm"

    return write


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"Rows": 65_535, "Columns": 65_535}, r"claims 65,535 × 65,535 pixels"),
        ({"Rows": 10, "Columns": 65_535}, r"claims 65,535 × 10 pixels"),
        ({"NumberOfFrames": 2**31 - 1}, r"claims 2,147,483,647 frames"),
        ({"NumberOfFrames": 500}, "can't be decoded"),
        ({"PixelSpacing": [1_000_000, 1]}, r"made square, it claims 128 × 128,000,000 pixels"),
    ],
)
def test_absurd_dicom_is_refused_before_anything_is_decoded(altered, monkeypatch, tags, told):
    path = altered(**tags)
    if "Rows" in tags or tags.get("NumberOfFrames", 0) > 500:
        monkeypatch.setattr(dicom, "pixel_array", lambda *_, **__: pytest.fail("decoded"))
    for read in (dicom.read, report.read_scan):
        with pytest.raises(DataError, match=f"scan.dcm.*{told}"):
            read(path)


@pytest.mark.parametrize("spacing", [["inf", "1"], ["1", "nan"]])
def test_a_spacing_that_is_no_number_leaves_the_picture_as_it_is(altered, spacing):
    assert dicom.read(altered(PixelSpacing=spacing)).image.size == (128, 128)


def test_a_deflated_dicom_is_refused_before_it_is_inflated(monkeypatch):
    monkeypatch.setattr("zlib.decompress", lambda *_, **__: pytest.fail("inflated"))
    with pytest.raises(DataError, match="deflated as a whole"):
        dicom.read(real("image_dfl.dcm"))


def test_a_lookup_table_of_absurd_depth_is_refused(tmp_path):
    dataset = pydicom.dcmread(real("CT_small.dcm"))
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [1, 0, 65_535])
    table.add_new("LUTData", "US", [1])
    dataset.VOILUTSequence = [table]
    dataset.save_as(tmp_path / "scan.dcm")
    with pytest.raises(DataError, match="can't be decoded"):
        dicom.read(tmp_path / "scan.dcm")


def test_sixteen_bits_are_still_read(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900).save(tmp_path / "a.png")
    assert np.ptp(np.asarray(report.read_scan(tmp_path / "a.png").image)) == 255
