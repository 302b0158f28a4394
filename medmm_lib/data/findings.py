"""Which findings a text says are there and which it says are not.

Negation follows NegEx (Chapman et al. 2001): a cue such as "no" reaches over the nouns behind it, up to a phrase that
begins another thought; "is absent" reaches back. A finding that a text hedges ("possible
effusion") or both affirms and denies is left out.
"""

import re

# What is asked for, as it stands in a question → how texts write it.
FINDINGS = {
    "a mass": r"mass(es)?|tumou?rs?|neoplasms?",
    "a nodule": r"nodules?",
    "a cyst": r"cysts?",
    "haemorrhage": r"ha?emorrhages?|bleed(ing)?|ha?ematomas?",
    "an infarct": r"infarct(s|ion)?",
    "an effusion": r"effusions?",
    "a pneumothorax": r"pneumothora(x|ces)",
    "consolidation": r"consolidations?",
    "a fracture": r"fractures?",
    "an abscess": r"abscess(es)?",
    "an aneurysm": r"aneurysms?",
    "a dissection": r"dissections?",
    "a thrombus": r"thromb(us|i|osis)",
    "calcification": r"calcifications?|calcified",
    "hydrocephalus": r"hydrocephalus",
    "midline shift": r"midline shift",
    "mass effect": r"mass effect",
    "oedema": r"o?edema",
    "atrophy": r"atrophy",
    "enhancement": r"enhanc(ement|ing|es)",
    "lymphadenopathy": r"(lymph)?adenopathy|enlarged (lymph )?nodes",
    "a hernia": r"hernias?|herniation",
    "an obstruction": r"obstruct(ion|ed)",
    "free air": r"free (intraperitoneal )?air|pneumoperitoneum",
    "free fluid": r"free (pelvic |intraperitoneal )?fluid|ascites",
    "a stenosis": r"stenos[ie]s",
    "atelectasis": r"atelectasis|collapse",
    "cardiomegaly": r"cardiomegaly|enlarged heart",
    "a metastasis": r"metasta(sis|ses|tic)",
}
_NEGATED = re.compile(r"\b(no|not|without|absence of|negative for|free of|nor|denies|ruled? out)\b", re.IGNORECASE)
_ABSENT = re.compile(r"\babsent( \w+){0,2}$", re.IGNORECASE)  # reaches to the next words only
_NEGATED_BEHIND = re.compile(
    r"\b((is|are|was|were|has been|have been) (absent|not \w+)|(not|never) (seen|identified|present|noted))\b",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"\b(possibl[ey]|probabl[ey]|suspect\w*|suspicious|may|might|could|likely|questionable|cannot|concern\w*|suggest\w*"
    r"|evaluate|versus|vs|differential|if|post-?\w*|prior|previous(ly)?|resol(ved|ution|ving)|no (longer|change)"
    r"|unchanged|interval|rather|history)\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.;:]\s|\n|\b(but|however|although|though|except|with(?!out)|which|and there (is|are))\b")
# What a negation does not reach past: "no communication of the mass with the bone" denies no mass.
_SCOPE_END = re.compile(
    r"\b(of|in|within|on|at|to|from|between|around|along) (the|a|an|his|her|this|these)\b"
    r"|, (and )?(a|an|the)\b|, and\b",
    re.IGNORECASE,
)
_EVIDENCE = re.compile(r"\b(evidence|sign|signs|suggestion) of( a| an| the| any)?\b", re.IGNORECASE)
_FINDING = {name: re.compile(rf"(?<!non)(?<!non[- ])\b({words})\b", re.IGNORECASE) for name, words in FINDINGS.items()}
_UNSETTLED = re.compile(r"\bnon[- ]?enhanc\w+", re.IGNORECASE)


def findings_in(text: str) -> list[tuple[str, bool]]:
    """The findings that `text` settles: (name, whether it is there), in the order of their mention.

    >>> findings_in("A large mass in the liver. No free fluid or adenopathy.")
    [('a mass', True), ('free fluid', False), ('lymphadenopathy', False)]
    """
    said: dict[str, set[bool | None]] = {}
    for clause in _clauses(_EVIDENCE.sub("", text)):
        hedged = _HEDGED.search(clause) is not None
        mentions = [(found.start(), name) for name, pattern in _FINDING.items() for found in pattern.finditer(clause)]
        for place, name in sorted(mentions):
            if name == "a mass" and re.match(r"mass effect", clause[place:], re.IGNORECASE):
                continue
            said.setdefault(name, set()).add(None if hedged else not _denied(clause, place))
        if _UNSETTLED.search(clause):
            said.setdefault("enhancement", set()).add(None)
    return [(name, values.pop()) for name, values in said.items() if len(values) == 1 and None not in values]


def _denied(clause: str, place: int) -> bool:
    """Whether a clause denies what it mentions at `place`."""
    before, behind = clause[:place], clause[place:]
    scopes = [before[cue.end() :] for cue in _NEGATED.finditer(before)]
    reached = any(_SCOPE_END.search(f"{scope}_") is None for scope in scopes)
    return reached or bool(_ABSENT.search(before.rstrip())) or bool(_NEGATED_BEHIND.search(behind))


def _clauses(text: str) -> list[str]:
    clauses, start = [], 0
    for end in _CLAUSE_END.finditer(text):
        clauses.append(text[start : end.start()])
        start = end.end()
    return [*clauses, text[start:]]
