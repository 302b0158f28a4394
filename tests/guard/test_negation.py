import pytest

from medmm_lib.guard.rules import shipped_rules


@pytest.mark.parametrize(
    "text",
    [
        "no sign of malignancy.",
        "there is no tumour, infarct or bleeding",
        "malignancy is ruled out",
        "a tumour is not seen",
        "free of metastases",
        "geen aanwijzingen voor uitzaaiingen",
        "er is geen tumor te zien",
        "een bloeding is uitgesloten",
        "nothing points to cancer",
        "the growth plates are open",
        "nee, geen gezwel",
        "this isn't a tumour",
    ],
)
def test_what_is_denied_is_no_bad_news(text):
    assert shipped_rules().diseases(text)[0] == []


@pytest.mark.parametrize(
    "text",
    [
        "a malignant tumour",
        "cancer cannot be ruled out",
        "not only a cyst but also a metastasis",
        "no doubt a lymphoma",
        "no fracture, but a large mass",
        "no fracture, a large mass is seen",
        "ct without contrast shows a tumour",
        "no, it is a stroke",
        "maligniteit is niet uit te sluiten",
        "geen cyste maar een tumor",
        "there is no heartbeat",
        "er is geen hartslag",
        "zonder twijfel een carcinoom",
    ],
)
def test_what_is_not_denied_is_bad_news(text):
    assert shipped_rules().diseases(text)[0]
