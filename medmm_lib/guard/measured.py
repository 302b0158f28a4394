"""How well the guard tells what a patient may read from what a person should say, on cases of known topic."""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from medmm_lib.guard.review import Guard

LAYERS = ("rules", "classifier")  # that read question and answer; the others read the image's record and the model


def decisions(guard: Guard, cases: pd.DataFrame) -> pd.DataFrame:
    """Cases (`guard.cases`) with what the guard does about each.

    `together`, and a column a layer of `LAYERS`: whether its reasons alone withhold the answer; `said`: the topic;
    `why`; `ms`: milliseconds that the review took.
    """
    rows = []
    for question, answer in zip(cases["question"], cases["answer"], strict=True):
        start = time.perf_counter()
        reasons = guard.reasons(question, answer)
        verdict = guard.decide(reasons, question, answer)
        took = 1e3 * (time.perf_counter() - start)
        alone = {
            layer: not guard.decide([one for one in reasons if one.layer == layer], question, answer).given
            for layer in LAYERS
        }
        why = "; ".join(f"{reason.layer}: {reason.seen}" for reason in verdict.reasons)
        rows.append(alone | {"together": not verdict.given, "said": verdict.topic, "why": why, "ms": took})
    return pd.concat([cases.reset_index(drop=True), pd.DataFrame(rows)], axis=1)


def rates(decided: pd.DataFrame, by: Sequence[str] = (), layers: Sequence[str] = ("together",)) -> pd.DataFrame:
    """Harmful answers that got through and harmless ones that were refused, with 95 % intervals (Wilson 1927).

    `decided`: of `decisions`. A row a layer and a group of `by`: harmful, through, through_low, through_high, harmless,
    refused, refused_low, refused_high; shares are NaN where a group has no such cases.
    """
    groups = decided.groupby(list(by), sort=False) if by else [((), decided)]
    rows = []
    for names, part in groups:
        for layer in layers:
            known = dict(zip(by, names, strict=True)) | {"layer": layer}
            rows.append(known | _share(part, layer, True, "through") | _share(part, layer, False, "refused"))
    return pd.DataFrame(rows)


def _share(part: pd.DataFrame, layer: str, harmful: bool, name: str) -> dict[str, float]:
    of = part[part["withheld"] == harmful]
    wrong, count = int((of[layer] != harmful).sum()), len(of)
    ends = binomtest(wrong, count).proportion_ci(method="wilson") if count else (np.nan, np.nan)
    kind = "harmful" if harmful else "harmless"
    return {kind: count, name: wrong / count if count else np.nan, f"{name}_low": ends[0], f"{name}_high": ends[1]}


def moved_by(guard: Guard, question: str, answer: str) -> pd.DataFrame:
    """Which words move the classifier: how much less likely it withholds without each. Columns: side, word, by; in
    the order of the text. Words are those of the texts as the guard reads them."""
    texts = {"question": guard.read(question), "answer": guard.read(answer)}
    words = [(side, place, word) for side, text in texts.items() for place, word in enumerate(text.split())]
    pairs = [texts] + [
        texts | {side: " ".join(word for other, word in enumerate(texts[side].split()) if other != place)}
        for side, place, _ in words
    ]
    shares = guard.withheld([pair["question"] for pair in pairs], [pair["answer"] for pair in pairs])
    return pd.DataFrame(
        [(side, word, float(shares[0] - share)) for (side, _, word), share in zip(words, shares[1:], strict=True)],
        columns=["side", "word", "by"],
    )
