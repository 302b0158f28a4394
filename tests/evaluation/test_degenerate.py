import json

import pandas as pd
import pytest

from medmm_lib.evaluation.degenerate import degenerate

BAD = {
    "empty": ["", None, "   ", "...", "(*)"],
    "repetition": [
        "cec. cec. cec.",
        "There is also. the in the right cecum. cecum. The cecum. with a mass in bowel. cec. cec. cec. cec. has.",
        "The mass is large. The mass is large. The mass is large.",
        "left kidney left kidney left kidney",
        "the mass of the mass of the mass of the liver and the mass of the mass",
    ],
    "cut_off": [
        "The lesion is located in the",
        "A mass with",
        "Findings include:",
        "A cyst (of the",
        "The liver, the spleen,",
    ],
    "wrong_language": [
        "Het beeld toont een grote tumor in de linker nier van de patiënt.",
        "La imagen muestra una masa grande en el riñón izquierdo del paciente.",
        "右肺有肿块",
        "كتلة في الرئة اليسرى",
    ],
}
GOOD = [
    "Axial",
    "Yes",
    "No.",
    "Left kidney",
    "Stanford type A",
    "T1, T2 and FLAIR",
    "L1, L2 and L3",
    "Vertebra plana",
    "Medulla oblongata",
    "Cor pulmonale",
    "Situs inversus totalis",
    "A 4 cm mass in the left lobe of the liver.",
    "There is no midline shift, no hydrocephalus and no haemorrhage.",
    "Bilateral hilar lymphadenopathy, typical of sarcoidosis",
    "Glioblastoma multiforme",
    "Abductor pollicis longus and extensor pollicis brevis tendons are thickened.",
    "Lateral displacement of the lateral meniscus; the lateral ligament is intact.",
    "Ring-enhancing lesion with surrounding oedema.",
    "The right kidney is normal. The left kidney is absent.",
    "Mild, smooth thickening of the interatrial septum with diffuse fat attenuation.",
    "Yes, it is",
    "No, there was",
    "Which type is this?",
    "What is it made of?",
    "Taken to the OR",
    "Aortic dissection (Stanford type A)",
    "Nodule of 5-5.5 cm",
    "SUV 2.2-2.4 on 11/11/11",
    "Normal, normal, normal",
    "β",
    "Musculus flexor digitorum superficialis et profundus tendinitis",
    "Calvarium, sella, clivus and foramen magnum appear unremarkable.",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in BAD.items() for text in texts])
def test_bad_texts_are_told(kind, text):
    assert kind in degenerate(text)


@pytest.mark.parametrize("text", GOOD)
def test_good_medical_sentences_pass(text):
    assert degenerate(text) == set()


def test_the_language_can_be_another():
    dutch = "Het beeld toont een grote tumor in de linker nier van de patiënt."
    assert degenerate(dutch, language="nl") == set()
    assert degenerate("The image shows a large mass in the left kidney of the patient.", language="nl") == {
        "wrong_language"
    }


def test_a_language_that_can_not_be_told_is_refused():
    with pytest.raises(ValueError, match="'zh' can't be told"):
        degenerate("右肺有肿块", language="zh")


def test_very_long_texts_are_survived():
    assert degenerate("word " * 10_000) >= {"repetition"}


@pytest.mark.data
def test_real_captions_and_answers_pass(medpix_root):
    captions = [
        row["Description"]["Caption"] for row in json.loads((medpix_root / "medpix-2.0/Descriptions.json").read_text())
    ]
    answers = pd.read_csv(medpix_root / "qa/clinqa_alignment.csv", keep_default_na=False)["answer"]
    assert not any(degenerate(text) for text in (*captions, *answers))
