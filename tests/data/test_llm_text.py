import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmm_lib.data.llm_text import parse

PAIRS = [("Is it CT?", "Yes"), ("Which side?", "Left, near the kidney")]


@pytest.mark.parametrize(
    "text",
    [
        "Here are the pairs:\n\nQ: Is it CT?\nA: Yes\n\nQ: Which side?\nA: Left, near the kidney",
        "**Q1:** Is it CT?\nA: Yes\n\n**Q2:** Which side?\nA: Left, near the kidney",
        "**Q1: Is it CT?**\nA: Yes\n**Q2: Which side?**\nA: Left, near the kidney",
        "**Question 1**\nIs it CT?\n\n**Answer**\nYes\n\n"
        "**Question 2**\nWhich side?\n\n**Answer**\nLeft, near the kidney",
        "1. Q: Is it CT?\nA: Yes\n2. Q: Which side?\nA: Left,\nnear the kidney",
        "* **Q:** Is it CT?\n* **A:** Yes\n* **Q:** Which side?\n* **A:** Left, near the kidney",
        "### Question 1\nIs it CT?\n### Answer\nYes\n### Question 2\nWhich side?\n### Answer\nLeft, near the kidney",
        "- Q: Is it CT? A: Yes\n- Q: Which side? A: Left, near the kidney",
        "Is it CT?\nYes\n\nWhich side?\nLeft, near the kidney",
        "Q: Is it CT?\n(from the image) A: Yes\n\nQ: Which side?\nA: Left, near the kidney\n\nLet me know!",
    ],
)
def test_the_forms_that_models_write(text):
    assert parse(text).pairs == PAIRS


def test_filler_is_left_over():
    parsed = parse("Here are the pairs:\n\nQ: Is it CT?\nA: Yes\n\nNote: more on request.")
    assert parsed.left_over == ["Here are the pairs:", "Note: more on request."]


def test_half_a_pair_is_no_pair():
    parsed = parse("Q: Is it CT?\n\nQ: Which side?\nA: Left")
    assert parsed.pairs == [("Which side?", "Left")]
    assert parsed.left_over == ["Is it CT?"]
    assert parse("A: Yes").pairs == []
    assert parse("").pairs == []


@given(st.text())
def test_any_text_is_read_without_an_error(text):
    assert all(question and answer for question, answer in parse(text).pairs)


words = st.lists(st.text(alphabet="bcdefgh,", min_size=1, max_size=8), min_size=2, max_size=9).map(" ".join)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=6))
def test_what_is_written_in_the_usual_form_comes_back(pairs):
    pairs = [(f"{question}?", answer) for question, answer in pairs]
    text = "Here you are:\n\n" + "\n\n".join(f"Q: {q}\nA: {a}" for q, a in pairs) + "\n\nLet me know!"
    assert parse(text).pairs == pairs


@pytest.mark.data
def test_the_real_texts(medpix_root):
    texts = json.loads((medpix_root / "qa" / "llama31_image_qa.json").read_text())
    parsed = [parse(text["qa_pairs"]) for text in texts]
    assert len(parsed) == 1541
    assert all(found.pairs for found in parsed)
    assert sum(len(found.pairs) for found in parsed) == 8114
