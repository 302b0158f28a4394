"""Which kind of image a caption names, by stated rules.

Captions of articles name the image that they stand under: "Axial CT of the pelvis …". The kind that is named first
decides, as later ones tell of other examinations ("… confirmed by ultrasound"). A caption that names none may still
describe what only ultrasound shows ("a hypoechoic lesion").
"""

import re
from typing import NamedTuple

LEFT_OUT = ("US", "fluoroscopy")  # kinds that the report leaves out of every source


class Rule(NamedTuple):
    """A rule: the kind that it finds, what it is called, and the words."""

    kind: str
    name: str
    words: re.Pattern[str]


def _rule(kind: str, name: str, *words: str, exact: bool = False) -> Rule:
    return Rule(kind, name, re.compile("|".join(words), 0 if exact else re.IGNORECASE))


# Kinds: CT, MR, XR, US as in the schema; NM (nuclear medicine), fluoroscopy (moving X-ray images with contrast medium).
NAMED = (
    _rule(
        "US",
        "names ultrasound",
        r"ultra-?\s?so(?:und|nogra|nic)\w*+(?![- ](?:guid|assist))",
        r"\bsono(?:gra|elasto)\w+",
    ),
    _rule("US", "names Doppler", r"\bdoppler\b"),
    _rule(
        "US",
        "names an echocardiogram",
        r"\bechocardiogra\w+",
        r"\b(?:trans)?(?:thoracic|o?esophageal) echo\b",
        r"\becho-?endoscop\w+",
    ),
    _rule("US", "abbreviates ultrasound", r"\b(?:US|USG|CEUS|EUS|IVUS|EBUS|TTE|TEE|TOE|TVUS|TRUS|POCUS)\b", exact=True),
    _rule("fluoroscopy", "names fluoroscopy", r"\b(?:video)?fluoroscop\w+", r"\bc-arm\b"),
    _rule(
        "fluoroscopy",
        "names a study with swallowed or instilled contrast medium",
        r"\b(?:barium|gastrografin)\b",
        r"\bupper (?:gi|gastrointestinal)(?: tract)? (?:series|study)",
        r"\bsmall bowel follow",
        r"\bo?esophag(?:o)?gra\w+",
        r"\bdefa?ecogra\w+",
        r"\b(?:hysterosalpingo|fistulo|sialo|dacryocysto|colosto|loopo|sino)gra\w+",
        r"\b(?:voiding |micturating |retrograde )*(?:cysto)?-?urethrogra\w+",
        r"\b(?:VCUG|MCUG)\b",
    ),
    _rule(
        "fluoroscopy",
        "names a cholangiogram, pyelogram or urogram",
        r"\bcholangio(?:pancreato)?(?:gra|rag)\w+",
        r"\bERCP\b",
        r"\b(?:uretero)?pyelogra\w+",
        r"\b(?:uro|nephrosto|cysto)gra(?:m|ms|phy)\b",
        r"\bIV[PU]\b",
    ),
    _rule(
        "fluoroscopy",
        "names an angiogram taken through a catheter",
        r"(?<!green )(?<!fluorescein )\b(?:cine)?(?:angio|arterio|aorto|veno|phlebo|ventriculo)gra(?:m|phy|phic|phies)",
        r"\bdigital subtraction\b",
        r"\bDSA\b",
    ),
    _rule(
        "CT",
        "names CT",
        r"(?<![a-z])(?:HR|CE|NC|MD|CB|MS|micro-?|angio-?)?CT(?:A|PA|U|V)?\b(?!\d)",
        r"\bcomput\w+[- ](?:axial )?tomogra\w+",
        r"(?<!coherence )(?<!emission )(?<!optical )\btomogra(?:m|ms|phy|phic)\b",
        r"\bcat scan\b",
    ),
    _rule(
        "MR",
        "names MR",
        r"\bf?MR(?:I|A|V|CP|S)s?\b",
        r"(?-i:\b(?:C|f)?MR\b(?!\.? [A-Z][a-z]))",
        r"\bmagnetic[- ]resonance\b",
        r"\bT[12][- ]?(?:weighted|w\b|WI\b|FLAIR|image|sequence|axial|coronal|sagittal)",
        r"\b(?:FLAIR|STIR|SSFP|gadolinium)\b",
        r"\bdiffusion[- ]weighted\b",
    ),
    _rule(
        "XR",
        "names an X-ray image",
        r"\bradio(?:graph|gram)\w*",
        r"\b(?:x|X)[- ]?rays?\b",
        r"\broentgen\w*",
        r"\bskiagra\w+",
        r"\bmammogra\w+",
        r"\b(?:ortho)?pan(?:to|oramic)\w*",
        r"\b(?:periapical|bitewing|cephalo)\w*",
        r"\b(?:plain|chest|abdominal) films?\b",
    ),
    _rule(
        "NM",
        "names nuclear medicine",
        r"\b(?:FDG[- ])?PET\b",
        r"\bpositron emission\b",
        r"\bSPECT\b",
        r"\bscintigra\w+",
        r"\bbone scans?\b",
    ),
)
# What only one kind of image shows, for captions that name none.
DESCRIBED = (
    _rule(
        "US",
        "describes echoes",
        r"\b(?:hypo|hyper|an|iso)[- ]?echo\w+",
        r"\becho(?:gen|lucen|dens|poor|rich)\w*",
        r"\bacoustic (?:shadow|enhancement|window)\w*",
    ),
    _rule(
        "US",
        "describes a view of echocardiography",
        r"\b(?:parasternal|apical(?! lordotic)|subcostal|subxiphoid|suprasternal)\b.{0,30}\bview",
        r"\b(?:four|five|two|three|[2-5])[- ]chamber\b.{0,20}\bview",
        r"\b(?:long|short)[- ]axis\b.{0,20}\bview",
    ),
    _rule(
        "US",
        "describes an unborn child",
        r"\bamniotic fluid\b",
        r"\bgestational sac\b",
        r"\b(?:biparietal|crown[- ]rump)\b",
    ),
    _rule(
        "fluoroscopy",
        "describes an intervention through a catheter",
        r"\bcoil(?:s|ing)?\b.{0,20}\bemboli[sz]",
        r"\bemboli[sz]\w+.{0,30}\bcoil",
        r"\bTIMI\b",
        r"\bguide[- ]?wires?\b",
        r"\bballoon (?:angioplasty|dilat\w+|inflat\w+|occlusion)\b",
    ),
    _rule(
        "fluoroscopy",
        "describes instilled contrast medium",
        r"\bcontrast(?:[- ](?:medium|material|agent|media))? (?:study|injection|injected|filling(?! defect)|reflux)\b",
        r"\b(?:escape|leak\w*|injection|reflux) of (?:the )?(?:contrast|radiopaque|radio-opaque|dye)\b",
        r"\bvesico-?ureteral reflux\b",
    ),
)


def named_kind(caption: str) -> Rule | None:
    """The rule that tells what kind of image a caption stands under, or None where nothing does.

    >>> named_kind("CT angiography; ultrasound had shown nothing.").kind
    'CT'
    >>> named_kind("Transverse view of a hypoechoic nodule.").name
    'describes echoes'
    """
    found = [
        (match.start(), -len(match[0]), place)
        for place, rule in enumerate(NAMED)
        if (match := rule.words.search(caption))
    ]
    if found:
        return NAMED[min(found)[2]]
    return next((rule for rule in DESCRIBED if rule.words.search(caption)), None)
