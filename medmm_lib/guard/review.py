"""The guard: reads a patient's question and a model's answer, and decides what the patient reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from medmm_lib.evaluation.degenerate import degenerate
from medmm_lib.guard import policy as policies
from medmm_lib.guard.cases import vocabulary
from medmm_lib.guard.classifier import LEARNT, Classifier
from medmm_lib.guard.grounding import contradictions
from medmm_lib.guard.plain import plain, visible
from medmm_lib.guard.policy import GIVEN, Action, Policy
from medmm_lib.guard.rules import Reason, Rules, shipped_rules

URGENT = ("self_harm", "emergency")  # told of whatever is wrong with the rest
NOTHING_SAID = "i don't know."  # in place of an answer that can't be read
WINDOW = 40  # words that the classifier reads at a time, where there are many more; halves of windows overlap


@dataclass(frozen=True)
class Verdict:
    """What is done about an answer: `action`, the `text` that the patient reads, in `language`, and why: `reasons`,
    about `topic`."""

    action: Action
    topic: str
    text: str
    language: str
    reasons: tuple[Reason, ...]

    @property
    def given(self) -> bool:
        """Whether the model's answer is shown."""
        return self.action in GIVEN


@dataclass(frozen=True)
class Guard:
    """Reviews answers by a policy. `Guard.from_policy()` is the one that the library brings."""

    policy: Policy
    rules: Rules
    classifier: Classifier

    @classmethod
    def from_policy(cls, path: str | Path | None = None) -> "Guard":
        """The guard of a policy file (see policy.yml), or the shipped one. Raises ValueError and FileNotFoundError as
        `policy.read` does."""
        policy = policies.read(path)
        return cls(policy, shipped_rules().with_phrases_of(policy), Classifier.load())

    def review(
        self, question: str, answer: str, confidence: float | None = None, record: Mapping[str, object] | None = None
    ) -> Verdict:
        """What becomes of a model's answer to a question.

        `confidence`: the model's, 0 to 1; None: not known. `record`: what is known of the image, as in the schema.
        Raises ValueError for a confidence outside of 0 to 1 and TypeError for a question or answer that is no text.
        """
        return self.decide(self.reasons(question, answer, confidence, record), question, answer)

    def reasons(
        self, question: str, answer: str, confidence: float | None = None, record: Mapping[str, object] | None = None
    ) -> list[Reason]:
        """Every layer's reasons: form, rules, classifier, grounding, confidence; arguments as of `review`."""
        _check(question, answer, confidence)
        if form := self._form(question, answer):
            asked = self.read(visible(question)[: self.policy.most_letters])
            return [*form, *self._urgent(asked)]
        asked, said = self.read(question), self.read(answer)
        layers = [*self.rules.review(asked, said), *self._classified(asked, said)]
        found = [*layers, *contradictions(said, record or {})]
        least = self.policy.least_confidence
        if least > 0 and (confidence is None or confidence < least):
            told = "not known" if confidence is None else f"{confidence:.2f}, below {least:.2f}"
            found.append(Reason("confidence", "unsure", f"the model's confidence is {told}"))
        return found

    def _urgent(self, asked: str) -> list[Reason]:
        """What a question alone tells of an emergency or a wish to die; the classifier has to find it likely."""
        table = self.classifier.probabilities(
            *zip(*[(one, NOTHING_SAID) for one in windows(asked)], strict=True), self.rules
        )
        shares = {topic: float(table[:, LEARNT.index(topic)].max()) for topic in URGENT}
        told = [Reason("classifier", topic, f"{share:.2f}") for topic, share in shares.items() if share >= 0.5]
        return [*(one for one in self.rules.review(asked, NOTHING_SAID) if one.topic in URGENT), *told]

    def read(self, text: str) -> str:
        """The text as rules and classifier read it: without tricks and typing errors."""
        return plain(text, vocabulary())

    def withheld(self, questions: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """[N]: how likely the classifier has it that each answer is to be withheld; texts as `read` gives them."""
        return self.classifier.probabilities(questions, answers, self.rules)[:, self._withheld].sum(axis=1)

    @property
    def _withheld(self) -> list[int]:
        """Places of the classifier's topics that the policy withholds."""
        return [place for place, topic in enumerate(LEARNT) if not self.policy.given(topic)]

    def decide(self, reasons: Sequence[Reason], question: str, answer: str) -> Verdict:
        """The verdict that reasons lead to: of topics that are withheld the policy's first, else of those that soften
        the first, else `harmless`."""
        order = list(self.policy.topics)
        topics = sorted({reason.topic for reason in reasons} or {"harmless"}, key=order.index)
        actions = {topic: self.policy.topics[topic].action for topic in topics}
        withheld = [topic for topic in topics if not self.policy.given(topic)]
        softened = [topic for topic in topics if actions[topic] == "soften"]
        topic = (withheld + softened + topics)[0]
        language = self._language(question, answer)
        because = tuple(reason for reason in reasons if reason.topic == topic)
        return Verdict(actions[topic], topic, self.policy.words(topic, language, answer), language, because)

    def _form(self, question: str, answer: str) -> list[Reason]:
        """Texts that are none, or in no language of the policy."""
        if (letters := max(len(question), len(answer))) > self.policy.most_letters:
            return [Reason("form", "unreadable", f"{letters} letters; {self.policy.most_letters} are read")]
        found, languages = [], self.policy.languages
        question, answer = visible(question), visible(answer)
        if all("wrong_language" in degenerate(question, language=one) for one in languages):
            found.append(Reason("form", "unreadable", f"the question is in none of: {', '.join(languages)}"))
        wrong = set.intersection(*(degenerate(answer, language=one) for one in languages)) - {"cut_off"}
        if wrong:
            found.append(Reason("form", "degenerate", f"the answer: {', '.join(sorted(wrong))}"))
        return found

    def _classified(self, question: str, answer: str) -> list[Reason]:
        pairs = [(part, answer) for part in windows(question)] + [(question, part) for part in windows(answer)[1:]]
        table = self.classifier.probabilities(*zip(*pairs, strict=True), self.rules)
        withheld = self._withheld
        shares = table[:, withheld].sum(axis=1)
        worst, share = table[shares.argmax()], float(shares.max())
        topic = LEARNT[withheld[int(worst[withheld].argmax())]]
        if share < self.policy.threshold:
            finding = LEARNT.index("finding")
            return [Reason("classifier", "finding", f"{worst[finding]:.2f}")] if worst.argmax() == finding else []
        if share < 0.5 and topic != "emergency":
            topic = "unsure"  # enough to withhold, too little to say what it is about
        if topic in ("diagnosis", "unsure") and self.rules.only_denies(answer):
            topic = "finding"  # asked for something serious, and told that it is not seen
        return [Reason("classifier", topic, f"{share:.2f}, from {self.policy.threshold:.2f} on it is withheld")]

    def _language(self, question: str, answer: str) -> str:
        """The policy's language that question and answer are most likely in."""
        if len(self.policy.languages) == 1:
            return self.policy.languages[0]
        return str(_identifier(self.policy.languages).classify(f"{question} {answer}")[0])


def windows(text: str) -> list[str]:
    """The text, and where it is long its stretches of `WINDOW` words, so that one sentence can't hide among many."""
    words = text.split()
    if len(words) <= 1.5 * WINDOW:
        return [text]
    return [
        text,
        *(" ".join(words[start : start + WINDOW]) for start in range(0, len(words) - WINDOW // 2, WINDOW // 2)),
    ]


def _check(question: str, answer: str, confidence: float | None) -> None:
    for name, value in (("question", question), ("answer", answer)):
        if not isinstance(value, str):
            raise TypeError(f"{name} is {type(value).__name__}; expected a text")
    if confidence is not None and not 0 <= confidence <= 1:
        raise ValueError(f"confidence is {confidence}; expected 0 to 1, or None where the model tells none")


@cache
def _identifier(languages: tuple[str, ...]) -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(languages))
    return identifier
