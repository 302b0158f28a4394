"""What patterns say of a question and an answer: those of `rules.yml` and a clinic's own, read with denials in mind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from medmm_lib.guard.negation import clauses, denied
from medmm_lib.guard.patterns import either, shipped
from medmm_lib.guard.policy import Policy


@dataclass(frozen=True)
class Reason:
    """Why a text belongs to a topic: the layer that says so, and what it saw."""

    layer: str
    topic: str
    seen: str


@dataclass(frozen=True)
class Rules:
    """Patterns for texts as `plain` gives them. `serious`: diseases that a person tells a patient of, but for words in
    `not_serious`; `missing`: what is bad news where it is denied; `affirms`: what turns a disease in a question into a
    diagnosis; `question` and `answer`: by topic. An answer explains a word where the question `asks_for_a_word` or the
    answer `defines` one, and it says nothing `of_the_patient`."""

    serious: re.Pattern[str]
    not_serious: re.Pattern[str]
    missing: re.Pattern[str]
    affirms: re.Pattern[str]
    asks_for_a_word: re.Pattern[str]
    defines: re.Pattern[str]
    of_the_patient: re.Pattern[str]
    question: Mapping[str, re.Pattern[str]]
    answer: Mapping[str, re.Pattern[str]]

    def with_phrases_of(self, policy: Policy) -> "Rules":
        """These rules and those that a policy adds."""
        own = {
            side: dict(getattr(self, side))
            | {
                name: either([*([getattr(self, side)[name].pattern] if name in getattr(self, side) else []), *phrases])
                for name, topic in policy.topics.items()
                if (phrases := getattr(topic.phrases, side))
            }
            for side in ("question", "answer")
        }
        return replace(self, **own)

    def review(self, question: str, answer: str) -> list[Reason]:
        """What speaks for a topic in a plain question and answer."""
        found = [
            Reason("rules", name, f"“{hit[0].strip()}” in the {side}")
            for side, text in (("question", question), ("answer", answer))
            for name, pattern in getattr(self, side).items()
            if (hit := pattern.search(text))
        ]
        if not self._explains(question, answer):
            found += self._told(question, answer)
        return found

    def _told(self, question: str, answer: str) -> list[Reason]:
        """A serious disease that the answer tells of, or that it says yes to."""
        (asked, _), (said, without) = self.diseases(question), self.diseases(answer)
        if said:
            return [Reason("rules", "diagnosis", f"“{said[0]}” in the answer")]
        if asked and not without and (yes := self.affirms.search(answer)):
            return [Reason("rules", "diagnosis", f"“{asked[0]}” in the question, “{yes[0]}” in the answer")]
        return []

    def diseases(self, text: str) -> tuple[list[str], list[str]]:
        """Serious diseases in a plain text: those that it says or leaves open, and those that it denies."""
        said, without = [], []
        for clause in clauses(text):
            spared = [hit.span() for hit in self.not_serious.finditer(clause)]
            for hit in self.serious.finditer(clause):
                if not any(start < hit.end() and hit.start() < end for start, end in spared):
                    (without if denied(clause, *hit.span()) else said).append(hit[0])
            said += [f"no {hit[0]}" for hit in self.missing.finditer(clause) if denied(clause, *hit.span())]
        return said, without

    def only_denies(self, text: str) -> bool:
        """Whether each clause of a plain text denies a serious disease, but for one or two words such as "no"."""
        said, without = self.diseases(text)
        told = (clause for clause in clauses(text) if len(clause.split()) > 2)
        return not said and bool(without) and all(self.diseases(clause)[1] for clause in told)

    def _explains(self, question: str, answer: str) -> bool:
        """Whether an answer says what a disease's word means, and nothing of the patient."""
        asked = self.serious.search(question) and self.asks_for_a_word.search(question)
        subject = self.defines.search(answer)
        word = asked or (subject and self.serious.search(subject[0]))
        return bool(word) and len(answer.split()) > 4 and not self.of_the_patient.search(answer)


@cache
def shipped_rules() -> Rules:
    """The rules that the library brings."""
    names = ("serious", "not_serious", "missing", "affirms", "asks_for_a_word", "defines", "of_the_patient")
    sides = {side: {name: either(one) for name, one in shipped()[side].items()} for side in ("question", "answer")}
    return Rules(**{name: either(shipped()[name]) for name in names}, **sides)
