import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo
from pydicom.data import get_testdata_file

from medmm_lib.data.dicom import Scan
from medmm_lib.data.loaded import DataError
from medmm_lib.data.schema import MASK_CLASSES
from medmm_lib.guard import Guard
from medmm_lib.patient import outlines, report

GUARD = Guard.from_policy()
SCAN = Scan(Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1))), "MR", "axial", "Head")


def page(**given):
    return report.to_html(report.compose(SCAN, GUARD, **given))


def labels(size=(64, 64), value=2):
    places = np.zeros(size, np.uint8)
    places[10:40, 10:40] = value
    return Image.fromarray(places)


def test_a_report_of_a_real_dicom_file(tmp_path):
    scan = report.read_scan(get_testdata_file("CT_small.dcm", download=False))
    for name, start in (("report.html", b"<!doctype html>"), ("report.pdf", b"%PDF")):
        report.write(report.compose(scan, GUARD), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES  # WeasyPrint turns it on
    assert "CompressedSamples" not in (tmp_path / "report.html").read_text()  # the name of the file's patient


def test_outlines_are_drawn_and_named():
    text = page(segmentation=labels())
    assert "the brain" in text
    assert text.count("<figure>") == 3


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "nobody drew any"),
        ({"segmentation": labels((32, 32))}, "32 × 32, and the scan is 64 × 64"),
        ({"segmentation": labels(value=77)}, "that we can't name"),
        ({"segmentation": labels(), "drawn": True}, "only seen drawings"),
    ],
)
def test_without_outlines_the_report_says_why(given, why):
    assert why in page(**given).replace("&#39;", "'")


def test_the_healthy_one_is_somebody_else():
    assert "It is not you" in page()
    unknown = Scan(SCAN.image, None, None, None)
    assert "no healthy picture" in report.to_html(report.compose(unknown, GUARD))


def test_answers_are_guarded():
    asked = [
        {"question": "What is the white spot?", "answer": "A glioblastoma."},
        {"question": "What am I looking at?", "answer": "An axial MRI of the brain."},
    ]
    text = page(questions=asked)
    assert "glioblastoma" not in text
    assert "An axial MRI of the brain." in text
    assert "seen as a slice" in text


def test_a_log_of_questions(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"question": "a", "answer": "b"}) + "\n\n", encoding="utf-8")
    assert report.read_questions(log) == [{"question": "a", "answer": "b"}]
    log.write_text('{"question": "a"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1: expected"):
        report.read_questions(log)
    log.write_text('{"question": "a", "answer": "b\u2028c", "confidence": null}\n', encoding="utf-8-sig")
    assert report.read_questions(log)[0]["answer"] == "b\u2028c"
    for wrong in ('"0.9"', "NaN", "2", "true"):
        log.write_text(f'{{"question": "a", "answer": "b", "confidence": {wrong}}}\n', encoding="utf-8")
        with pytest.raises(DataError, match="line 1: confidence is"):
            report.read_questions(log)
    log.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        report.read_questions(log)


def test_spots_that_may_matter_have_no_outline():
    both = np.asarray(labels()).copy()
    both[15:20, 15:20] = MASK_CLASSES.index("lesion")
    shown = outlines.outlined(SCAN.image, Image.fromarray(both))
    assert [name for name, _ in shown.legend] == ["brain"]
    assert "Spots that may matter have no outline" in page(segmentation=Image.fromarray(both))
    assert "no part that we show" in page(segmentation=labels(value=MASK_CLASSES.index("lesion")))


def test_a_label_map_says_what_its_model_learnt_from(tmp_path):
    told = PngInfo()
    told.add_text(outlines.TRAINED_ON, "phantom_large")
    labels().save(tmp_path / "labels.png", pnginfo=told)
    read, drawn = outlines.read(tmp_path / "labels.png")
    assert drawn
    assert np.array_equal(np.asarray(read), np.asarray(labels()))
    (tmp_path / "no.png").write_bytes(b"hello")
    with pytest.raises(DataError, match="no picture"):
        outlines.read(tmp_path / "no.png")
    labels().convert("RGB").save(tmp_path / "colour.png")
    with pytest.raises(DataError, match="mode RGB"):
        outlines.read(tmp_path / "colour.png")


def test_what_is_blocked_is_not_repeated():
    asked = [
        {"question": "I want to kill myself", "answer": "Why?"},
        {"question": "Is this it? " * 90, "answer": "Yes."},
    ]
    text = page(questions=asked)
    assert "kill" not in text
    assert "does not repeat" in text
    assert "Is this it? " * 40 not in text


def test_outlines_of_the_stored_picture_fit_the_one_that_is_shown():
    stretched = Scan(SCAN.image.resize((64, 80)), "MR", "axial", "Head", stored=(64, 64))
    assert "the brain" in report.to_html(report.compose(stretched, GUARD, segmentation=labels()))


def test_pictures_of_16_bits_keep_their_greys(tmp_path):
    values = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (64, 1))
    Image.fromarray(values).save(tmp_path / "scan.png")
    shown = np.asarray(report.read_scan(tmp_path / "scan.png").image)
    assert (shown.min(), shown.max()) == (0, 255)
    assert abs(shown.mean() - 127) < 3


def test_names_in_the_picture_are_warned_of():
    warned = Scan(SCAN.image, "US", names_in_picture=True, frame=(2, 5))
    text = report.to_html(report.compose(warned, GUARD, language="nl"))
    assert "Er kunnen namen of nummers" in text
    assert "plaatje 2 van 5" in text


def test_other_names_and_languages_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.html or \.pdf"):
        report.write(report.compose(SCAN, GUARD), tmp_path / "report.docx")
    with pytest.raises(ValueError, match="language is 'de'"):
        report.compose(SCAN, GUARD, language="de")
    with pytest.raises(DataError, match="there is no scan"):
        report.read_scan(tmp_path / "none.png")


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=120), st.text(max_size=120))
def test_no_markup_of_a_question_gets_through(question, answer):
    marked = f"<script>{question}</script><img src=x onerror=1>"
    text = page(questions=[{"question": marked, "answer": answer + "<b>"}])
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "<b>" not in text
