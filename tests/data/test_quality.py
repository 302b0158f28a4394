import pytest

from medmm_lib.data.quality import FLAGS, flags

EXAMPLES = {
    "volumetric": [
        ("Does the mass extend to the adjacent slices?", "Yes"),
        ("What reconstruction is this?", "3D reconstruction"),
        ("Is it isointense on both T1 and T2 weighted images?", "Yes"),
    ],
    "measurement": [
        ("How large is the mass?", "3 x 2 cm"),
        ("What is the diameter?", "About 12 mm"),
        ("How many lesions are there?", "Two"),
        ("Describe the cyst.", "A cyst of 4.5cm"),
        ("What is the density?", "40 HU"),
    ],
    "history": [
        ("Why did the patient come to the clinic?", "He presented with chest pain"),
        ("What is the patient's main complaint?", "Headache"),
        ("Was there a prior surgery?", "Yes"),
        ("What is the history of this patient?", "A fall"),
        ("When was the injury?", "Three weeks ago"),
    ],
    "long_answer": [("What do you see?", "word " * 65)],
    "answer_given_away": [
        ("Where in the left kidney is the cyst?", "In the left kidney"),
        ("What is the orientation of this axial image?", "Axial"),
    ],
    "filler": [
        ("Is there a mass?", "[To be answered from the image]"),
        ("Where is it, according to the caption?", "Left image caption"),
        ("Q3: What is it?", "A3: A cyst"),
        ("Is it there?", "..."),
        ("Is there a mass?", "Let me know if you need more"),
        ("What is it?", "Not specified"),
    ],
    "not_visual": [
        ("How is this condition treated?", "With antibiotics"),
        ("What causes it?", "A virus"),
        ("How common is this disease?", "Rare"),
        ("What is the prognosis?", "Good"),
        ("What are typical symptoms?", "Pain"),
        ("What is ganglioglioma?", "A tumour of the brain"),
        ("Explain the disease:", "It is a tumour"),
    ],
}
CLEAN = [
    ("Is the mass in the left lobe?", "Yes"),
    ("What does the image show?", "A cyst in the liver"),
    ("Is it left or right?", "Left"),
    ("Is the mass larger than the kidney?", "No"),
    ("Where is the bleed?", "In the right frontal lobe"),
    ("In which plane was this image taken?", "axial"),
    ("Which sequence was used?", "T2"),
    ("Is there a fracture?", "No"),
    ("How does the lesion appear?", "Hyperintense"),
    ("What is seen in the image?", "The image is blurred"),
    ("Is the lesion well-defined?", "Yes"),
    ("Is edema associated with the lesion?", "Yes"),
    ("How does the mass enhance?", "Peripherally"),
    ("Is the sequence T1W vs T2W?", "T1W"),
    ("What is the texture (e.g. cystic or solid)?", "Solid"),
]


@pytest.mark.parametrize(("flag", "pair"), [(flag, pair) for flag, pairs in EXAMPLES.items() for pair in pairs])
def test_flags_catch_what_they_are_for(flag, pair):
    assert flag in flags(*pair)


@pytest.mark.parametrize("pair", CLEAN)
def test_good_pairs_carry_no_flag(pair):
    assert flags(*pair) == set()


def test_every_flag_is_known():
    assert set(EXAMPLES) == set(FLAGS)


def test_a_caption_makes_an_answer_visible():
    pair = ("What is the typical finding?", "ring enhancement")
    assert "not_visual" in flags(*pair)
    assert "not_visual" not in flags(*pair, caption="Ring enhancement of the mass.")


@pytest.mark.parametrize("text", ["", " ", "🩻", "نعم، كتلة في الرئة", "x" * 10_000])
def test_odd_texts_are_survived(text):
    assert flags(text, text) <= set(FLAGS)


def test_the_definition_names_every_flag():
    assert all(f"`{flag}`" in flags.__doc__ for flag in FLAGS)
