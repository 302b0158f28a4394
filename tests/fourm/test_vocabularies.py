import pytest

import medmm_lib.data
from medmm_lib.fourm import vocabularies
from medmm_lib.fourm.text import TextTokeniser


def test_pieces_a_word():
    tokeniser = TextTokeniser.train(["left cyst"] * 3, 600)
    assert vocabularies.pieces_per_word(tokeniser, ["left cyst left"]) == 1
    letters = TextTokeniser.train(["left cyst"] * 3, 235)  # little more than the special tokens
    assert vocabularies.pieces_per_word(letters, ["left", "cyst"]) > 1
    assert vocabularies.unknown(tokeniser, ["left zzz", "cyst"]) == pytest.approx(1 / 3)


def test_literature_holds_what_is_said_of_the_disease():
    rows = list(medmm_lib.data.load("phantom")["validation"].remove_columns(["image", "mask"]))
    texts = vocabularies.literature(rows)
    assert len(texts) == len(set(texts)) > 5
    assert not {row["caption"] for row in rows} & set(texts)
