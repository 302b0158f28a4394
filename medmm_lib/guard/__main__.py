"""`python -m medmm_lib.guard`: train the classifier that the library brings, on all of its training cases."""

from medmm_lib.guard import cases, classifier
from medmm_lib.guard.plain import plain
from medmm_lib.guard.rules import shipped_rules


def main() -> None:
    """Read the cases as the guard would, train, and write the weights beside the code."""
    taught, words = cases.training(), cases.vocabulary()
    questions, answers = ([plain(text, words) for text in taught[name]] for name in ("question", "answer"))
    trained = classifier.Classifier.fit(questions, answers, taught["topic"], shipped_rules())
    trained.save(classifier.SHIPPED)
    print(f"{classifier.SHIPPED}: {len(taught):,} cases")


if __name__ == "__main__":
    main()
