import numpy as np
import pytest
from PIL import Image

from medmm_lib.data.dicom import Scan
from medmm_lib.guard import Guard
from medmm_lib.patient import reading, report
from medmm_lib.patient.session import session

SCAN = Scan(Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1))), "MR", "axial", "Head")


def test_a_session_shows_what_the_patient_reads_and_why_and_then_the_report():
    said = {"Is it cancer?": ("Yes.", 0.9), "Which organ is this?": ("The brain.", None)}
    widget = session(SCAN, lambda question: said[question], Guard.from_policy(), list(said), "a model")
    _, choose, write, told, make_it, page = widget.children
    (text, ask), (language, make) = write.children, make_it.children
    choose.children[0].click()
    assert "the patient reads (defer)" in told.value
    assert "rules, diagnosis" in told.value
    text.value = "Which organ is this?"
    ask.click()
    assert told.value.count("<table") == 2
    language.value = "nl"
    make.click()
    assert "Uw scan, uitgelegd" in page.value
    assert "a model" in page.value


@pytest.mark.parametrize("language", report.LANGUAGES)
def test_a_report_is_easy_to_read(language):
    asked = [{"question": "What is this?", "answer": "The liver."}, {"question": "Do I have cancer?", "answer": "Yes."}]
    page = report.to_html(report.compose(SCAN, Guard.from_policy(), asked, language=language))
    assert reading.grade(reading.sentences(page), language) <= 8
    assert reading.ease(reading.sentences(page), language) >= 60


def test_sentences_of_a_page_end():
    page = "<body><style>p {}</style><h1>Your scan</h1><p>It is <b>here</b>.</p><li>one</li></body>"
    assert reading.sentences(page) == "Your scan. It is here. one."
    hard = "Notwithstanding aforementioned radiological considerations, multidisciplinary deliberation is recommended."
    assert reading.grade(hard, "en") > 15 > reading.grade("This is a cat. It sits on a mat.", "en")
