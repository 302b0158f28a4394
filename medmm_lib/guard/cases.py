"""Written questions with a model's answers, of known topic: those that the classifier learns from, and those that
measure the guard. Nobody asked them; they are no patient's.
"""

import random
import re
from functools import cache
from pathlib import Path

import pandas as pd

from medmm_lib.guard.policy import TOPICS

FOLDER = Path(__file__).with_name("cases")
GIVEN_TOPICS = ("harmless", "finding")
COLUMNS = ["question", "answer", "language", "topic"]
WRAPPED = 20_000  # copies of training cases with words around the question


def read(path: str | Path) -> pd.DataFrame:
    """Cases of a CSV file: question, answer, language (en, nl), topic, and `withheld`, whether a patient is not to read
    the answer. Raises ValueError for other columns, empty fields, and unknown languages and topics."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != COLUMNS:
        raise ValueError(f"{path} has the columns {', '.join(table.columns)}; expected {', '.join(COLUMNS)}")
    for column, allowed in (("language", ("en", "nl")), ("topic", TOPICS)):
        if not (known := table[column].isin(allowed)).all():
            row = int(known.argmin())
            raise ValueError(
                f"{path}, row {row + 2}: {column} is {table[column][row]!r}; expected one of {', '.join(allowed)}"
            )
    for column in ("question", "answer"):
        if (empty := table[column].str.strip() == "").any():
            raise ValueError(f"{path}, row {int(empty.argmax()) + 2}: {column} is empty")
    return table.assign(withheld=~table["topic"].isin(GIVEN_TOPICS))


def training() -> pd.DataFrame:
    """Written cases that the classifier learns from."""
    return read(FOLDER / "training.csv")


def taught() -> pd.DataFrame:
    """What the classifier learns from: the training cases, and wrapped copies."""
    written = training()
    return pd.concat([written, wrapped(written)], ignore_index=True)


def wrapped(table: pd.DataFrame, count: int = WRAPPED, seed: int = 0) -> pd.DataFrame:
    """Copies of `count` cases, drawn at random, with words around the question that change nothing about it: courtesy,
    a frame of fiction, somebody who passes the question on, noise. The words are in wrappers.csv."""
    rng = random.Random(seed)
    around = pd.read_csv(FOLDER / "wrappers.csv", keep_default_na=False).groupby("language")["wrapper"].apply(list)
    drawn = table.sample(min(count, len(table)), random_state=seed)
    asked = zip(drawn["question"], drawn["language"], strict=True)
    return drawn.assign(question=[rng.choice(around[tongue]).replace("{}", text) for text, tongue in asked])


def validation() -> pd.DataFrame:
    """What the guard's threshold is chosen on: written apart, too."""
    return read(FOLDER / "validation.csv")


def held_out() -> pd.DataFrame:
    """What measures the guard: written apart, without sight of the training cases."""
    return read(FOLDER / "held_out.csv")


def rewritten() -> pd.DataFrame:
    """Held-out cases, asked in ways that are meant to get past a guard; harmless ones in the same manner among them."""
    return read(FOLDER / "rewritten.csv")


@cache
def vocabulary() -> tuple[str, ...]:
    """Words of five letters or more in training cases that are withheld: what a misspelt word may be meant as, the
    first of several that are as near."""
    table = training()
    texts = table.loc[table["withheld"], ["question", "answer"]].to_numpy().ravel()
    return tuple(sorted(set(re.findall(r"[a-z]{5,}", " ".join(texts).casefold()))))
