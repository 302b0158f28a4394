import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider
from rapidfuzz.distance import Levenshtein
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from medmm_lib.evaluation import text_metrics
from medmm_lib.evaluation.text import METRICS, bleu_counts, corpus_bleu, text_scores, tokens

REFERENCES = [
    "A large mass in the left lobe of the liver.",
    "No pleural effusion is seen.",
    "axial",
    "There is a small cyst in the right kidney, without enhancement.",
    "Yes",
]
PREDICTIONS = [
    "A small mass in the left lobe of the liver is seen",
    "no pleural effusion",
    "Axial.",
    "There is no fracture of the rib and the heart is of normal size.",
    "No",
]
# Texts whose tokens are the same for us and for the libraries' own tokenisers.
PLAIN = [" ".join(tokens(text)) for text in PREDICTIONS], [" ".join(tokens(text)) for text in REFERENCES]


def one(prediction, reference):
    return {name: values[0] for name, values in text_scores([prediction], [reference]).items()}


def test_the_names_that_other_code_relies_on():
    names = {"edit_distance", "bleu4", "rouge_l", "cider", "token_recall", "token_f1", "exact_match"}
    assert names <= set(text_metrics(PREDICTIONS, REFERENCES))


def test_bleu_is_sacrebleus():
    ours = text_metrics(PREDICTIONS, REFERENCES)["bleu4"]
    assert ours == pytest.approx(BLEU(tokenize="none").corpus_score(PLAIN[0], [PLAIN[1]]).score / 100)
    for number, (prediction, reference) in enumerate(zip(*PLAIN, strict=True)):
        theirs = BLEU(tokenize="none", effective_order=True).sentence_score(prediction, [reference]).score / 100
        assert text_scores(PREDICTIONS, REFERENCES)["bleu4"][number] == pytest.approx(theirs)


vocabulary = st.lists(st.sampled_from("a b c d e".split()), max_size=12).map(" ".join)


@settings(max_examples=200)
@given(st.lists(st.tuples(vocabulary, vocabulary), min_size=1, max_size=5))
def test_corpus_bleu_is_sacrebleus_on_any_texts(pairs):
    predictions, references = zip(*pairs, strict=True)
    ours = corpus_bleu(bleu_counts(predictions, references).sum(0))
    theirs = BLEU(tokenize="none").corpus_score(list(predictions), [list(references)]).score / 100
    if not any(predictions) and not any(references):
        theirs = 1.0  # ours by definition: texts without a token agree
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_rouge_is_rouge_scores():
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    scores = text_scores(PREDICTIONS, REFERENCES)
    for number, (prediction, reference) in enumerate(zip(*PLAIN, strict=True)):
        theirs = scorer.score(reference, prediction)
        for ours, name in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
            assert scores[ours][number] == pytest.approx(theirs[name].fmeasure)


def test_cider_is_pycocoevalcaps():
    given = {number: [text] for number, text in enumerate(PLAIN[0])}
    wanted = {number: [text] for number, text in enumerate(PLAIN[1])}
    value, each = Cider().compute_score(wanted, given)
    assert text_metrics(PREDICTIONS, REFERENCES)["cider"] == pytest.approx(value)
    assert text_scores(PREDICTIONS, REFERENCES)["cider"] == pytest.approx(each)


def test_edit_distance_is_rapidfuzzs():
    scores = text_scores(PREDICTIONS, REFERENCES)
    for number, pair in enumerate(zip(*PLAIN, strict=True)):
        assert scores["edit_distance"][number] == Levenshtein.distance(*pair)
        assert scores["edit_distance_normalised"][number] == pytest.approx(Levenshtein.normalized_distance(*pair))


def test_values_worked_out_by_hand():
    scores = one("the left kidney", "the right kidney")
    assert scores["edit_distance"] == 4  # left → right: l→r, e→i, f→g, insert h
    assert scores["edit_distance_normalised"] == pytest.approx(4 / 16)
    assert scores["token_recall"] == pytest.approx(2 / 3)
    assert scores["token_f1"] == pytest.approx(2 / 3)
    assert scores["rouge_1"] == pytest.approx(2 / 3)
    assert scores["rouge_2"] == 0
    assert scores["rouge_l"] == pytest.approx(2 / 3)
    assert scores["exact_match"] == 0
    # Precisions 2/3, then (1/2)/2, (1/4)/1 smoothed; sentence BLEU uses the orders that the text has.
    assert scores["bleu4"] == pytest.approx((2 / 3 * 1 / 4 * 1 / 4) ** (1 / 3))
    longer = one("a mass in the left kidney", "left kidney")
    assert longer["token_recall"] == 1
    assert longer["token_f1"] == pytest.approx(2 * (2 / 6) * 1 / (2 / 6 + 1))


def test_all_right_and_all_wrong():
    right = text_metrics(REFERENCES, REFERENCES)
    assert right["edit_distance"] == 0
    for name in ("bleu4", "rouge_1", "rouge_l", "token_recall", "token_f1", "exact_match"):
        assert right[name] == pytest.approx(1)
    wrong = text_metrics(["xylophone"] * 5, REFERENCES)
    assert wrong["edit_distance_normalised"] > 0.5
    for name in ("bleu4", "rouge_1", "rouge_2", "rouge_l", "cider", "token_recall", "token_f1", "exact_match"):
        assert wrong[name] == 0


def test_case_punctuation_and_width_do_not_count():
    assert one("YES!", "yes.")["exact_match"] == 1
    assert one("ﬁbrosis", "Fibrosis")["exact_match"] == 1  # a ligature
    assert one("T2-weighted", "T2 weighted")["exact_match"] == 1


@pytest.mark.parametrize("nothing", ["", None, "   ", "...", "\u200f"])
def test_empty_texts_have_defined_values(nothing):
    both = one(nothing, nothing)
    assert both["edit_distance"] == 0
    assert both["exact_match"] == both["token_f1"] == both["rouge_l"] == both["bleu4"] == 1
    for pair in ((nothing, "a mass"), ("a mass", nothing)):
        scores = one(*pair)
        assert scores["edit_distance_normalised"] == 1
        assert all(scores[name] == 0 for name in METRICS if not name.startswith("edit_distance"))


@pytest.mark.parametrize("text", ["🩻 🫁", "كتلة في الرئة اليسرى", "גוש בריאה", "右肺有肿块", "word " * 10_000])
def test_odd_texts_agree_with_themselves_and_not_with_others(text):
    assert one(text, text)["exact_match"] == one(text, text)["token_f1"] == 1
    other = one(text, "left kidney")
    assert all(math.isfinite(value) for value in other.values())
    assert other["exact_match"] == other["token_f1"] == 0


@settings(max_examples=100)
@given(st.text(max_size=40), st.text(max_size=40))
def test_every_value_is_in_its_range(prediction, reference):
    scores = one(prediction, reference)
    assert all(-1e-9 <= scores[name] <= 1 + 1e-9 for name in METRICS if name not in ("edit_distance", "cider"))
    assert scores["exact_match"] == (tokens(prediction) == tokens(reference))


def test_as_many_predictions_as_references():
    with pytest.raises(ValueError, match="1 predictions and 2 references"):
        text_metrics(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="0 predictions"):
        text_metrics([], [])


def test_means_are_means_of_the_answers():
    scores, metrics = text_scores(PREDICTIONS, REFERENCES), text_metrics(PREDICTIONS, REFERENCES)
    for name in METRICS:
        if name != "bleu4":
            assert metrics[name] == pytest.approx(np.mean(scores[name]))
