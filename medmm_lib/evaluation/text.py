"""Metrics that compare a predicted text with a reference text.

One normalisation for all of them (`tokens`): Unicode NFKC, case folded, punctuation, control characters and spaces
separate tokens, everything else (letters, marks, digits, symbols such as emoji) belongs to one. The libraries get these
tokens, so their own tokenisers play no part. A missing text (None) is an empty one. Two texts without any token agree
(1, distance 0; CIDEr, which has no upper end, gives 0); an empty and a non-empty text share nothing (0, normalised
distance 1).
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from pycocoevalcap.cider.cider import Cider
from rapidfuzz.distance import LCSseq, Levenshtein
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer
from sacrebleu.metrics import BLEU

Texts = Sequence[str | None]

BLEU_ORDER = 4
METRICS = (
    "edit_distance",
    "edit_distance_normalised",
    "bleu4",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "cider",
    "token_recall",
    "token_f1",
    "exact_match",
)


def tokens(text: str | None) -> list[str]:
    """The tokens of a text, as the module's docstring defines them.

    >>> tokens("The T2-weighted image: No mass.")
    ['the', 't2', 'weighted', 'image', 'no', 'mass']
    """
    if not isinstance(text, str | None):
        raise ValueError(f"{text!r} is no text; a missing text is None")
    folded = unicodedata.normalize("NFKC", text or "").casefold()
    return "".join(mark if unicodedata.category(mark)[0] in "LMNS" else " " for mark in folded).split()


def text_metrics(predictions: Texts, references: Texts) -> dict[str, float]:
    """The value of every metric on a whole set of answers.

    - `edit_distance`: Levenshtein distance in characters of the normalised texts, mean (Levenshtein 1966);
      `edit_distance_normalised`: divided by the longer text's length, 0 to 1.
    - `bleu4`: corpus BLEU of up to 4-grams, 0 to 1 (Papineni et al. 2002; sacrebleu). It is 0 where no answer has four
      tokens, right or not, as `rouge_2` is for a single token.
    - `rouge_1`, `rouge_2`, `rouge_l`: mean F-measure (Lin 2004; rouge-score, and rapidfuzz for the common subsequence).
    - `cider`: mean of 10 × the tf-idf cosine of 1- to 4-grams with a length penalty, CIDEr-D (Vedantam et al. 2015;
      pycocoevalcap). Its document frequencies come from these references, so it depends on the set.
    - `token_recall`: share of the reference's tokens that the prediction has, what LLaVA-Med calls "open" (Li et al.
      2023); `token_f1`: harmonic mean of this recall and of precision (Rajpurkar et al. 2016); `exact_match`.

    Raises `ValueError` when there are no texts or as many of one kind as not of the other.
    """
    scores = text_scores(predictions, references)
    values = {name: float(scores[name].mean()) for name in METRICS}
    return values | {"bleu4": float(corpus_bleu(bleu_counts(predictions, references).sum(0)))}


def text_scores(predictions: Texts, references: Texts) -> dict[str, np.ndarray]:
    """Every metric of every answer: name → [N]. `bleu4` is sentence BLEU with exponential smoothing (sacrebleu)."""
    pairs = [(tokens(prediction), tokens(reference)) for prediction, reference in _paired(predictions, references)]
    bleu = BLEU(tokenize="none", effective_order=True)
    rouge = RougeScorer(["rouge1", "rouge2"], tokenizer=_Split())
    joined = [(" ".join(prediction), " ".join(reference)) for prediction, reference in pairs]
    grams = [rouge.score(reference, prediction) for prediction, reference in joined]
    scores = {
        "edit_distance": [Levenshtein.distance(*pair) for pair in joined],
        "edit_distance_normalised": [Levenshtein.normalized_distance(*pair) for pair in joined],
        "bleu4": _each(joined, lambda p, r: bleu.sentence_score(p, [r]).score / 100),
        "rouge_1": [_or_empty(score["rouge1"].fmeasure, *pair) for score, pair in zip(grams, pairs, strict=True)],
        "rouge_2": [_or_empty(score["rouge2"].fmeasure, *pair) for score, pair in zip(grams, pairs, strict=True)],
        "rouge_l": _each(pairs, lambda p, r: 2 * LCSseq.similarity(p, r) / (len(p) + len(r))),
        "cider": _cider(joined),
        "token_recall": _each(pairs, lambda p, r: _overlap(p, r) / len(r)),
        "token_f1": _each(pairs, lambda p, r: 2 * _overlap(p, r) / (len(p) + len(r))),
        "exact_match": [prediction == reference for prediction, reference in pairs],
    }
    return {name: np.asarray(scores[name], dtype=float) for name in METRICS}


def bleu_counts(predictions: Texts, references: Texts) -> np.ndarray:
    """BLEU's sufficient statistics of every answer: [N, 10], matches and totals of 1- to 4-grams and both lengths."""
    rows = []
    for prediction, reference in ((tokens(p), tokens(r)) for p, r in _paired(predictions, references)):
        matches, totals = [], []
        for order in range(1, BLEU_ORDER + 1):
            found, wanted = _ngrams(prediction, order), _ngrams(reference, order)
            matches.append((found & wanted).total())
            totals.append(found.total())
        rows.append([*matches, *totals, len(prediction), len(reference)])
    return np.array(rows, dtype=float)


def corpus_bleu(counts: np.ndarray) -> np.ndarray:
    """Corpus BLEU, 0 to 1, from summed `bleu_counts`: [..., 10] → [...].

    As sacrebleu computes it: geometric mean of the precisions times the brevity penalty; an order without a match is
    smoothed exponentially (1/2, 1/4 … of a match), and without any match BLEU is 0.
    """
    matches, totals = counts[..., :BLEU_ORDER], counts[..., BLEU_ORDER : 2 * BLEU_ORDER]
    lengths, wanted = counts[..., -2], counts[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = np.cumsum(matches == 0, axis=-1)
        smoothed = np.where(matches == 0, 0.5**missed, matches) / totals
        mean = np.exp(np.log(smoothed).mean(-1))
        value = mean * np.where(lengths < wanted, np.exp(1 - wanted / lengths), 1.0)
    defined = (totals > 0).all(-1) & (matches > 0).any(-1)
    both_empty = (lengths == 0) & (wanted == 0)
    return np.where(both_empty, 1.0, np.where(defined, value, 0.0))


class _Split(Tokenizer):
    """rouge-score's way to be given tokens that are ready."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


def _paired(predictions: Texts, references: Texts) -> list[tuple[str | None, str | None]]:
    if len(predictions) != len(references) or not len(references):
        raise ValueError(
            f"{len(predictions)} predictions and {len(references)} references: expected one prediction a reference"
        )
    return list(zip(predictions, references, strict=True))


def _each(pairs: Sequence[tuple], score: Callable[..., float]) -> list[float]:
    """`score` of every pair of non-empty texts; see the module's docstring for the others."""
    return [score(*pair) if all(pair) else _or_empty(0.0, *pair) for pair in pairs]


def _or_empty(score: float, prediction: Sequence, reference: Sequence) -> float:
    return score if prediction or reference else 1.0


def _overlap(prediction: list[str], reference: list[str]) -> int:
    return (Counter(prediction) & Counter(reference)).total()


def _ngrams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def _cider(joined: list[tuple[str, str]]) -> np.ndarray:
    if not any(reference for _, reference in joined):
        return np.zeros(len(joined))
    numbered = list(enumerate(joined))
    wanted = {number: [reference] for number, (_, reference) in numbered}
    given = {number: [prediction] for number, (prediction, _) in numbered}
    return Cider().compute_score(wanted, given)[1]
