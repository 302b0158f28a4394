"""Flags for question/answer pairs that the first fine-tuning runs found harmful.

A flag is a rule over words: it misses paraphrases, and it can be wrong. Chapter 01 shows what each flag catches.
"""

import re

FLAGS = ("volumetric", "measurement", "history", "long_answer", "answer_given_away", "filler", "not_visual")
LONG_ANSWER_WORDS = 64


def flags(question: str, answer: str, caption: str | None = None) -> set[str]:
    """The flags of one pair. With the image's `caption`, an answer that stands in it counts as visible.

    - `volumetric`: the answer needs other slices, other series or the whole volume.
      Yes: "Does the mass extend to the adjacent slices?" No: "Is the mass in the left lobe?"
    - `measurement`: the answer rests on a size, a count of units or a volume.
      Yes: "How large is the mass?", "3 x 2 cm". No: "Is the mass larger than the kidney?", "No".
    - `history`: it asks for or tells of the patient's past or complaints, which no image shows.
      Yes: "Why did the patient come to the clinic?", "He presented with chest pain". No: "Where is the bleed?"
    - `long_answer`: the answer has more than 64 words. Yes: a paragraph. No: "Axial".
    - `answer_given_away`: every content word of the answer stands in the question.
      Yes: "Where in the left kidney is the cyst?", "In the left kidney". No: "Is it left or right?", "Left".
    - `filler`: the writer talks about itself, the task or its source instead of the image, or leaves a task label.
      Yes: "[To be answered from the image]", "Q3: What is it?". No: "The image is blurred".
    - `not_visual`: no image can answer it: causes, treatment, prognosis, frequency, definitions. For image questions
      only. Yes: "How is this condition treated?" No: "What does the image show?"
    """
    both = f"{question} {answer}"
    found = {
        "volumetric": bool(_VOLUMETRIC.search(both)),
        "measurement": bool(_MEASURED.search(answer))
        or bool(_SIZE_ASKED.search(question) and _DIGIT.search(answer))
        or bool(_COUNT_ASKED.search(question) and _COUNT.search(answer)),
        "history": bool(_HISTORY.search(both)),
        "long_answer": len(answer.split()) > LONG_ANSWER_WORDS,
        "answer_given_away": _given_away(question, answer),
        "filler": bool(_FILLER.search(question) or _FILLER.search(answer) or not _WORD.search(answer)),
        "not_visual": bool(_LITERATURE.search(question))
        and not _LOOKED_AT.search(question)
        and not _stands_in(answer, caption),
    }
    return {name for name in FLAGS if found[name]}


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{text})" for text in alternatives), re.IGNORECASE)


_VOLUMETRIC = _pattern(
    r"\b(3[- ]?d|three[- ]dimension\w*|volumetric|volume[- ]render\w*|multiplanar|cine)\b",
    r"\b(other|adjacent|consecutive|contiguous|successive|serial|multiple|several|all|different|subsequent|previous|prior)"
    r" (\w+ ){0,2}(slices|sections|images|sequences|series|planes|views|scans)\b",
    r"\b(T1\S*( weighted)? and T2|T2\S*( weighted)? and T1|CT and MRI?|MRI? and CT)\b",
    r"\bcranio-?caudal\w*\b",
    r"\b(delayed|arterial|venous|portal) (and|to|versus|vs\.?) (delayed|arterial|venous|portal)\b",
)
_UNIT = r"(mm|cm|millimet\w+|centimet\w+|inch(es)?|ml|cc|cm3|mm3|liters?|litres?|HU|hounsfield\w*|degrees?|°)"
_MEASURED = _pattern(
    rf"\d\s?-?{_UNIT}(\b|(?<=°))",
    r"\d\s?[x×]\s?\d",
    rf"\b(one|two|three|four|five|six|seven|eight|nine|ten) {_UNIT}\b",
)
_SIZE_ASKED = _pattern(
    r"\bhow (large|big|wide|thick|deep|tall|much|long is)\b",
    r"\b(size|diameter|dimensions?|volume|length|width|thickness|measure\w*)\b",
)
_DIGIT = re.compile(r"\d")
_COUNT_ASKED = _pattern(r"\bhow many\b", r"\b(number|count) of\b")
_COUNT = _pattern(r"\d", r"\b(one|two|three|four|five|six|seven|eight|nine|ten|single|both|several|multiple)\b")
_PATIENT = r"(the|this|a|an|his|her) (\w+[- ]){0,3}(patient|man|woman|boy|girl|infant|child|male|female)('s|s')?"
_HISTORY = _pattern(
    r"\b(history of|past (medical|surgical)|medical history|surgical history|family history|clinical history)\b",
    r"(?<!patients )(?<!typically )(?<!often )\b(presented|presents|came|admitted|brought)"
    r" (to|with|for|after|because)\b",
    rf"\b{_PATIENT}[^.?]{{0,40}}\bpresent(ing)?\b",
    r"\b(present(ing)?|chief) (symptom|complaint|presentation)",
    r"\b(complain\w*|reason for (the )?(visit|exam\w*|scan))\b",
    rf"\b{_PATIENT}[^.?]{{0,40}}\b(symptom|pain|fever|cough|age|old|occupation|history|experienc|medication|allerg)",
    rf"\b(age|symptoms?|complaints?|history|treatment|therapy|surgery) of {_PATIENT}",
    r"\b(his|her|their) (symptoms?|complaints?|history|age|pain)\b",
    r"\b(\d+|two|three|four|five|six|several)[- ]?(years?|months?|weeks?|days?)[- ](ago|prior|earlier|later|history)\b",
    r"\b(status[- ]post|s/p|prior|previous|previously|formerly) (\w+ ){0,2}"
    r"(surgery|surgical|operation|resection|treatment|treated|therapy|chemotherapy|radiation|trauma|injury|diagnosed"
    r"|exam\w*|ct|mri?|scan|study|studies|radiograph\w*)\b",
    r"\bwhat (led|brought|prompted)\b",
)
_FILLER = _pattern(
    r"\b(here (is|are) (the|some|a few)|let me know|as an? (ai|language model))\b",
    r"\bi (do not|don't|can't|cannot|would|have avoided)\b",
    r"\b(question[- ]answer|qa pairs?|q&a|the (given|provided) (\w+ )*(text|case|information|context))\b",
    r"\b((image|medical|the|given) captions?|case (information|info|report|discussion|description|findings))\b",
    r"\btopic info\w*\b",
    r"\b(according to|mentioned in|described in|stated in|based on) (the|this) (text|passage|case|article)\b",
    r"\b(to be answered|cannot be determined|not (mentioned|provided|specified|stated))\b",
    r"\b(not enough|no) (information|details?|data)\b",
    r"^\s*(q|a)\d*:",
    r"\(note:|^note:|\bacr code",
    r"\bn/a\b",
)
_LITERATURE = _pattern(
    r"\b(treat\w*|manag(ed?|ement|ing)|therap\w+|prognosis|surviv\w+|outcomes?|mortality|recurrence|follow[- ]?up)\b",
    r"\b(prevent\w*|screening|recommend\w*|guidelines?)\b",
    r"\b(cause[sd]?|causing|etiology|aetiology|pathogenesis|pathophysiology|mechanism|genetic\w*|inherit\w*)\b",
    r"\b(hereditary|mutation|gene)\b",
    r"\b(how common|how often|how frequent\w*|incidence|prevalence|percentage|proportion|epidemiolog\w+|rare)\b",
    r"\b(typical(ly)?|usual(ly)?|common(ly)?|often|generally|classic(al)?|characteristic(ally)?|potential|possible)\b",
    r"\b(complications?|symptoms?|clinical(ly)?|laborator\w+|patholog(y|ic|ical)|histolog\w+|biops\w+|differ from)\b",
    r"\bwhat (age|population|conditions?|diseases?|syndromes?) (group|is|are|can|does|do|may)\b.*\baffect",
    r"\b(differentiate\w*|distinguish\w*|advantages?|sensitiv\w+|specificity)\b",
    r"\bbest (modality|imaging|test|method)\b",
    r"^\W*(q\d*:)?\s*(why|when|how (do|does|did|can|could|is|are|was|were|may|might)"
    r"(?![^?]*\b(appear|look|compare|located|visible|seen|shown|enhance|performed|acquired|taken|obtained|oriented)\b))\b",
    r"\b(risks?|predispos\w+|manifest\w*|indicates?|suggests?|at what age)\b",
    r"\b(significance|importance|role|purpose|relationship|stands? for|definition|mean by)\b",
    r"^\W*(explain|talk about|discuss|elaborate on|describe) (the |this )?(disease|condition|disorder|topic)\b",
    r"^\W*what (is|are) (?!the\b|this\b|that\b|these\b|those\b)(?![^?]*\b(image|scan|slice|shown|seen|visible"
    r"|located|view|here|patient|noted|used|being|present|depicted|highlighted|visualized|demonstrated)\b)",
    r"\b(patients|people|individuals|adults|children|women|men|infants) (with|who)\b",
)
# Questions that point at the picture, whatever other words they use.
_LOOKED_AT = _pattern(
    r"^\W*(is|are) there\b(?![^?]*\b(typical|usual|common|patients)\w*)",
    r"^\W*(is|are|does|do|was|can) [^?]*\b(visible|seen|shown|(this|these|the) images?)\b",
    r"^\W*how was (this|the) image\b",
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_FUNCTION_WORDS = frozenset(
    """
    a an the this that these those it its is are was were be been being am do does did has have had having can could may
    might must shall should will would of in on at to from by with within without into for as and but if than then so
    such there here which who whom whose what when where why how i you he she they we his her their our your image
    images picture scan shown seen show shows visible located present patient patients please
    """.split()
)


def _content(text: str) -> set[str]:
    return {word.rstrip("s") for word in _WORD.findall(text.casefold()) if word not in _FUNCTION_WORDS}


def _given_away(question: str, answer: str) -> bool:
    """Whether the question holds every content word of the answer; a choice that it offers is no giveaway."""
    words = _content(answer)
    is_choice = re.search(r"\b(or|vs|versus|e\.g|such as)\b", question, re.IGNORECASE)
    if not words or words & {"ye", "no"} or is_choice or re.search(r"\d", answer):
        return False
    return words <= _content(question)


def _stands_in(answer: str, caption: str | None) -> bool:
    words = _content(answer) - {"ye", "no"}
    return bool(caption) and bool(words) and words <= _content(caption or "")
