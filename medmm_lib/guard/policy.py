"""The guard's policy: topics, what is done about each, what the patient reads. A YAML file for clinics to change."""

import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from medmm_lib.guard.patterns import either
from medmm_lib.guard.plain import legible

SHIPPED = Path(__file__).with_name("policy.yml")
Action = Literal["answer", "soften", "defer", "block"]
GIVEN = ("answer", "soften")  # actions with which the patient reads what the model said
TOPICS = (
    "self_harm", "emergency", "unsafe", "identity", "injection", "prognosis", "diagnosis", "medication", "off_topic",
    "degenerate", "ungrounded", "unsure", "unreadable", "finding", "harmless",
)  # fmt: skip
_BLANKS = ("answer", "person", "emergency")


def _compiles(pattern: str) -> str:
    try:
        either([pattern, pattern])  # as it is used: among others
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Phrases(_Strict):
    """Regular expressions, for texts in lower case without accents."""

    question: tuple[Pattern, ...] = ()
    answer: tuple[Pattern, ...] = ()


class Topic(_Strict):
    """What is done about questions and answers of one kind."""

    action: Action
    text: dict[str, str]
    phrases: Phrases = Phrases()


class Policy(_Strict):
    """A whole policy, as policy.yml explains it."""

    languages: tuple[Literal["en", "nl"], ...] = Field(min_length=1)
    least_confidence: float = Field(ge=0, le=1)
    most_letters: int = Field(gt=0)
    threshold: float = Field(gt=0, lt=1)
    person: dict[str, str]
    emergency: dict[str, str]
    topics: dict[str, Topic]

    @model_validator(mode="after")
    def _whole(self) -> "Policy":
        _same("topics", set(self.topics), set(TOPICS))
        told = {f"topics.{name}.text": topic.text for name, topic in self.topics.items()}
        for name, texts in {"person": self.person, "emergency": self.emergency, **told}.items():
            _same(name, set(texts), set(self.languages))
        for name, texts in {"person": self.person, "emergency": self.emergency}.items():
            for language, text in texts.items():
                if "{" in text or "}" in text:
                    raise ValueError(f"{name}.{language} is {text!r}; expected words, without {{…}}")
        for name, topic in self.topics.items():
            for language, text in topic.text.items():
                where = f"topics.{name}.text.{language}"
                if unknown := set(re.findall(r"\{(\w*)\}", text)) - set(_BLANKS):
                    raise ValueError(f"{where} has {{{unknown.pop()}}}; expected one of {{{'}, {'.join(_BLANKS)}}}")
                if ("{answer}" in text) != (topic.action in GIVEN):
                    must = "must" if topic.action in GIVEN else "must not"
                    raise ValueError(f"{where} {must} hold {{answer}}, as the action is {topic.action}")
        return self

    def given(self, topic: str) -> bool:
        """Whether a patient reads what the model said about a topic."""
        return self.topics[topic].action in GIVEN

    def words(self, topic: str, language: str, answer: str) -> str:
        """What the patient reads about a topic."""
        person = self.person[language]
        filled = re.sub(r"(^|\. )\{person\}", rf"\1{person[:1].upper()}{person[1:]}", self.topics[topic].text[language])
        filled = filled.replace("{person}", person).replace("{emergency}", self.emergency[language])
        return filled.replace("{answer}", legible(answer))


def _same(name: str, got: set[str], expected: set[str]) -> None:
    if missing := sorted(expected - got):
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    if extra := sorted(got - expected):
        raise ValueError(f"{name} has {', '.join(extra)}, which nothing knows; expected {', '.join(sorted(expected))}")


def read(path: str | Path | None = None) -> Policy:
    """The policy in a file; without one, the policy that the library brings. Raises ValueError that names the file, the
    place in it and what was expected, and FileNotFoundError."""
    file = Path(path or SHIPPED)
    if not file.is_file():
        raise FileNotFoundError(f"no policy at {file}; copy {SHIPPED.name} of medmm_lib.guard and change it")
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no YAML text: {error}") from error
    try:
        return Policy.model_validate(given)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}".lstrip(": ") for one in error.errors())
        raise ValueError(f"{file} is no policy: {told}") from error
