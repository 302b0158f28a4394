"""`python -m medmm_lib.guard`: train the classifier that the library brings on all training cases and wrapped copies,
and show what each threshold would do on the validation cases, from which policy.yml's is chosen.
"""

import numpy as np
import pandas as pd

from medmm_lib.guard import Guard, cases, classifier
from medmm_lib.guard.measured import rates

SAMPLED = 50  # each so many-th case is in the weights' digest
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def main() -> None:
    """Read the cases as the guard does, train, write the weights beside the code, and print a table."""
    guard, taught, tried = Guard.from_policy(), cases.taught(), cases.validation()
    trained = classifier.Classifier.fit(*read(guard, taught), taught["topic"], guard.rules)
    trained.save(classifier.SHIPPED, classifier.digest(*read(guard, taught[::SAMPLED]), guard.rules))
    guard = Guard(guard.policy, guard.rules, classifier.Classifier.load())
    asked, said = read(guard, tried)
    share = guard.withheld(asked, said)
    ruled = np.array([bool(guard.rules.review(*pair)) for pair in zip(asked, said, strict=True)])
    decided = tried.assign(**{f"from {one}": ruled | (share >= one) for one in THRESHOLDS})
    table = rates(decided, layers=[f"from {one}" for one in THRESHOLDS])
    with pd.option_context("display.width", 200):
        print(table[["layer", "through", "refused"]].round(4).to_string(index=False))
    print(f"{classifier.SHIPPED}: {len(taught):,} cases, tried on {len(tried):,}")


def read(guard: Guard, table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Questions and answers as the guard reads them."""
    questions, answers = ([guard.read(text) for text in table[name]] for name in ("question", "answer"))
    return questions, answers


if __name__ == "__main__":
    main()
