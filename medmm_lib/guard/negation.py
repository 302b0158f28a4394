"""Which words of a text are denied by it, in English and Dutch.

NegEx (Chapman et al. 2001): a cue such as "no" or "geen" reaches over the words behind it to the end of its clause,
"is ruled out" over those before it. "Cannot be ruled out" and its like deny nothing. The cues are those of rules.yml.
"""

import re
from functools import cache

from medmm_lib.guard.patterns import either, shipped

# Besides marks: the "no" that answers a question, and an article, with which a list of what is denied is over.
_ENDS = r"[.;:!?\n]+|^ *(?:no|nope|nee|neen) *,|, (?:and |en )?(?=(?:a|an|the|there|een|er)\b)"


def clauses(text: str) -> list[str]:
    """A plain text cut where a denial ends."""
    return [part for part in _cut().sub("\n", text).split("\n") if part.strip()]


def denied(clause: str, start: int, end: int) -> bool:
    """Whether a clause denies its words from `start` to `end`."""
    open_ends = [found.span() for found in _cue("not_denials").finditer(clause)]
    if any(place >= start for _, place in open_ends):
        return False
    before, behind = clause[:start], clause[end:]
    cues = [cue for cue in _cue("before").finditer(before) if not any(a <= cue.start() < b for a, b in open_ends)]
    return bool(cues) or _cue("behind").search(behind) is not None


@cache
def _cue(name: str) -> re.Pattern[str]:
    return either(shipped()["denials"][name])


@cache
def _cut() -> re.Pattern[str]:
    return re.compile(f"{_ENDS}|{_cue('ends').pattern}")
