import pytest

import medmm_lib.data
from medmm_lib.fourm import vocabularies
from medmm_lib.fourm.experiment import Setup
from medmm_lib.fourm.text import TextTokeniser


def test_pieces_a_word():
    tokeniser = TextTokeniser.train(["left cyst"] * 3, 600)
    assert vocabularies.pieces_per_word(tokeniser, ["left cyst left"]) == 1
    letters = TextTokeniser.train(["left cyst"] * 3, 235)  # little more than the special tokens
    assert vocabularies.pieces_per_word(letters, ["left", "cyst"]) > 1
    assert vocabularies.unknown(tokeniser, ["left zzz", "cyst"]) == pytest.approx(1 / 3)


def test_vocabularies_are_compared_on_what_all_of_them_know(tmp_path):
    parts = medmm_lib.data.load("phantom")
    training, held_out = parts["train"].select(range(8)), parts["validation"].select(range(6))
    captions = [*training["caption"], *held_out["caption"]]
    several = {"large": TextTokeniser.train(captions * 2, 900), "small": TextTokeniser.train(captions * 2, 300)}
    setup = Setup("tiny", ("1: any -> any",), (64, 64), (64, 64), 2, 4, 1e-3, 0, shape={"width": 32})
    table = vocabularies.comparison(several, setup, training, held_out, tmp_path, [0], 64, 8).set_index("learned from")
    assert table["captions"].tolist() == [6, 6]
    assert table["pieces a word"]["large"] < table["pieces a word"]["small"]
    assert table["difference"]["large"] == 0
    assert 0 < table["nats a character"].min() < 10
    blind = {"all": several["large"], "none": TextTokeniser.train(["q"], 300)}
    with pytest.raises(ValueError, match="no caption"):
        vocabularies.comparison(blind, setup, training, held_out, tmp_path, [0], 64, 8)


def test_literature_holds_what_is_said_of_the_disease():
    rows = list(medmm_lib.data.load("phantom")["validation"].remove_columns(["image", "mask"]))
    texts = vocabularies.literature(rows)
    assert len(texts) == len(set(texts)) > 5
    assert not {row["caption"] for row in rows} & set(texts)
