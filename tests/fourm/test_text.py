import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmm_lib.fourm import boxes
from medmm_lib.fourm.text import END, PAD, SENTINELS, TextTokeniser

TEXTS = [
    "Axial T1-weighted image of the brain shows a small cyst in the left lobe.",
    "Coronal CT of the chest shows a large mass in the right lobe. No effusion.",
    "[x0=1][y0=2][x1=3][y1=4] cyst",
] * 3
share = st.floats(0, 1)


@pytest.fixture(scope="module")
def tokeniser():
    return TextTokeniser.train(TEXTS, 500)


def test_texts_come_back_in_lower_case(tokeniser):
    for text in TEXTS[:2]:
        tokens = tokeniser.encode(text)
        assert tokens[-1] == tokeniser.end
        assert tokeniser.decode(tokens).replace(" ", "") == text.lower().replace(" ", "")


def test_the_same_texts_give_the_same_vocabulary():
    vocabularies = [TextTokeniser.train(TEXTS, 320).tokeniser.get_vocab() for _ in range(8)]
    assert all(one == vocabularies[0] for one in vocabularies)
    assert len(vocabularies[0]) == 320  # more were to be had, so ties decided


def test_a_vocabulary_has_no_special_tokens_but_its_own(tokeniser):
    assert tokeniser.decode(tokeniser.encode("a ## b")).replace(" ", "") == "a[UNK][UNK]b"
    added = tokeniser.tokeniser.get_added_tokens_decoder().values()
    assert {str(token.content)[0] for token in added} == {"["}


def test_what_follows_the_end_is_not_read(tokeniser):
    tokens = tokeniser.encode("small cyst")
    assert tokeniser.decode([*tokens, *tokeniser.encode("large mass"), tokeniser.pad]) == "small cyst"


def test_special_tokens_have_places_of_their_own(tokeniser):
    ids = tokeniser.tokeniser
    specials = [PAD, END, *boxes.TOKENS, *(f"[S{k}]" for k in range(SENTINELS))]
    numbers = [ids.token_to_id(token) for token in specials]
    assert len(set(numbers)) == len(specials)
    assert tokeniser.pad == 0
    sentinels = numbers[-SENTINELS:]
    assert sentinels == list(range(tokeniser.first_sentinel, tokeniser.first_sentinel + SENTINELS))
    assert tokeniser.decode([sentinels[0], *tokeniser.encode("cyst")]) == "cyst"


def test_a_boxs_token_is_one_token(tokeniser):
    text = boxes.write([boxes.Box((0.1, 0.2, 0.5, 0.6), "cyst"), boxes.Box((0.5, 0.5, 0.9, 0.8), "mass")])
    tokens = tokeniser.encode(text)
    assert len(tokens) == 2 * (4 + 1) + 1
    assert boxes.read(tokeniser.decode(tokens)) == boxes.read(text)


def test_a_vocabulary_from_a_file(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(["[PAD]", "[UNK]", "small", "cy", "##st"]))
    tokeniser = TextTokeniser.of_vocabulary(file)
    assert tokeniser.decode(tokeniser.encode("small cyst")) == "small cyst"
    assert tokeniser.first_sentinel > 5
    file.write_text("small\ncyst")
    with pytest.raises(ValueError, match=r"no line \[UNK\]"):
        TextTokeniser.of_vocabulary(file)


@given(st.tuples(share, share), st.tuples(share, share), st.sampled_from(["cyst", "brain mass"]))
def test_a_box_comes_back_within_its_bins(x, y, name):
    (x0, x1), (y0, y1) = sorted(x), sorted(y)
    read = boxes.read(boxes.write([boxes.Box((x0, y0, x1, y1), name)]))
    if not read:  # no part of a bin lies between its sides
        assert x0 == x1 or y0 == y1
        return
    assert read[0].name == name
    for given_at, at in zip((x0, y0, x1, y1), read[0].place, strict=True):
        assert abs(given_at - at) <= 1 / boxes.BINS + 1e-9


def test_what_is_no_whole_box_is_passed_over():
    assert boxes.read("") == []
    assert boxes.read("[x0=3] [y0=1] cyst") == []
    assert boxes.read("[x0=9] [y0=1] [x1=3] [y1=4] cyst") == []
    assert [box.name for box in boxes.read("x [x0=1] [y0=1] [x1=3] [y1=4] cyst [x0=1] [x1=2]")] == ["cyst"]


def test_no_box_is_an_empty_text():
    assert boxes.write([]) == ""


def test_a_saved_tokeniser_reads_texts_the_same_way(tokeniser, tmp_path):
    tokeniser.save(tmp_path)
    again = TextTokeniser.read(tmp_path)
    assert again.tokeniser.get_vocab() == tokeniser.tokeniser.get_vocab()
    assert [again.encode(text) for text in TEXTS] == [tokeniser.encode(text) for text in TEXTS]
