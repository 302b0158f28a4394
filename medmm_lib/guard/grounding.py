"""Whether an answer names a kind of scan or a part of the body that the image's record contradicts."""

import re
from collections.abc import Mapping
from functools import cache

from medmm_lib.guard.negation import clauses, denied
from medmm_lib.guard.patterns import either, shipped
from medmm_lib.guard.rules import Reason

# What images of a region may show as well: a scan of the chest ends in the liver.
_TRUNK = {"Thorax", "Abdomen", "Reproductive and Urinary System", "Spine and Muscles"}
_ALSO = dict.fromkeys(_TRUNK, _TRUNK) | {"Head": {"Head", "Spine and Muscles"}, "Spine and Muscles": {"Head", *_TRUNK}}


def contradictions(answer: str, record: Mapping[str, object]) -> list[Reason]:
    """What a plain answer says of the image that its record contradicts.

    Read are `modality` (CT, MR, XR, US) and `location_category`, as the schema has them. A field that is missing or
    null contradicts nothing; clauses that compare with another scan, and words that are denied, don't count.
    """
    parts = [clause for clause in clauses(answer) if not either(shipped()["compared"]).search(clause)]
    found = []
    for field in ("modality", "location_category"):
        table = shipped()[field]
        if (value := record.get(field)) not in table:
            continue
        named = {name: words for name in table if (words := _named(field, name, parts))}
        if named and not _ALSO.get(str(value), {value}) & set(named):
            name, words = next(iter(named.items()))
            found.append(Reason("grounding", "ungrounded", f"“{words}” is {name}; the record's {field} is {value}"))
    return found


def _named(field: str, name: str, parts: list[str]) -> str | None:
    """The first words for it that the clauses affirm."""
    for clause in parts:
        for hit in _pattern(field, name).finditer(clause):
            if not denied(clause, *hit.span()):
                return hit[0]
    return None


@cache
def _pattern(field: str, name: str) -> re.Pattern[str]:
    return either([shipped()[field][name]])
