"""Cuts a radiology report into its sections."""

import re

# Heading, in capitals → section; "" ends one. Other headings ("LUNGS:") are part of the section that they stand in.
_SECTIONS = {
    "findings": r"FINDINGS?(?: AND IMPRESSION)?|OBSERVATIONS?|REPORT|[A-Z ,]*\b(?:CHEST|VIEWS?|RADIOGRAPHS?)\b[A-Z ,]*",
    "impression": "IMPRESSIONS?|CONCLUSIONS?|OPINION|ASSESSMENT|SUMMARY|INTERPRETATION|IMPRESSION AND RECOMMENDATIONS?",
    "history": "INDICATIONS?|HISTORY|CLINICAL (?:HISTORY|INDICATIONS?|INFORMATION)|PATIENT HISTORY"
    "|REASON FOR (?:EXAM(?:INATION)?|STUDY)",
    "": "TECHNIQUE|COMPARISONS?|EXAM(?:INATION)?|STUDY|PROCEDURE|WET READ|NOTIFICATIONS?|RECOMMENDATIONS?|ADDENDUM"
    "|FINAL REPORT|DOSE|CONTRAST",
}
_HEADING = re.compile(
    r"^[ \t]*(?:" + "|".join(f"(?P<s{place}>{words})" for place, words in enumerate(_SECTIONS.values())) + r")"
    r"(?:[ \t]*[/(][^:\n]*)?[ \t]*:[ \t]*",
    re.MULTILINE,
)
_PARAGRAPH_END = re.compile(r"\n\s*\n")


def sections(report: str) -> dict[str, str | None]:
    """`findings`, `impression` and `history` of a report; None where it has none.

    Headings stand in capitals at the beginning of a line and end in a colon; a history is one paragraph. A report with
    neither findings nor impression keeps its last paragraph as findings, as MIMIC-CXR's authors cut theirs (Johnson et
    al. 2019, arXiv:1901.07042).

    >>> sections("INDICATION: Cough.\\n\\nFINDINGS: The lungs are\\n clear.\\n\\nIMPRESSION: Normal.")
    {'findings': 'The lungs are clear.', 'impression': 'Normal.', 'history': 'Cough.'}
    """
    found: dict[str, list[str]] = {name: [] for name in _SECTIONS if name}
    headings = list(_HEADING.finditer(report))
    ends = [heading.start() for heading in headings[1:]] + [len(report)]
    for heading, end in zip(headings, ends, strict=False):
        name = list(_SECTIONS)[next(place for place in range(len(_SECTIONS)) if heading[f"s{place}"])]
        text = report[heading.end() : end].strip()
        if name == "history":
            text = _PARAGRAPH_END.split(text)[0]
        if name and text:
            found[name].append(_one_line(text))
    if not found["findings"] and not found["impression"]:
        last = _PARAGRAPH_END.split(report.strip())[-1]
        found["findings"] = [_one_line(last)] if last and not _HEADING.match(last) else []
    return {name: " ".join(texts) or None for name, texts in found.items()}


def _one_line(text: str) -> str:
    return " ".join(text.split())
