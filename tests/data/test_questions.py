import pytest

from medmm_lib.data import medpix, questions, splits
from medmm_lib.data.findings import findings_in
from medmm_lib.data.literature import sentences
from medmm_lib.data.schema import SPLITS
from tests.data import layout

TOPIC = (
    "Glioma is a tumour of glial cells in the brain. On MRI it shows high signal on T2-weighted images. "
    "Treatment is by surgical resection and then radiotherapy. It is caused by mutations in some families."
)


def made(folder, topics=None, **description):
    uids = [f"T{n}" for n in range(6)]
    cases = [layout.case(uid) for uid in uids]
    for record, text in zip(cases, topics or [], strict=False):
        record["Topic"] = {"Title": "Glioma", "Disease Discussion": text}
    images = [layout.image(uid, description=description) for uid in uids]
    return questions.make(medpix.read(layout.write(folder, cases, images)).dataset)


def answers(pairs, **wanted):
    rows = [row for split in SPLITS for row in pairs[split]]
    return [row["answer"] for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_fields_become_open_questions_with_their_value_as_answer(tmp_path):
    pairs = made(tmp_path)
    assert answers(pairs, question_id="T0_a-modality") == ["CT scan"]
    assert answers(pairs, question_id="T0_a-plane") == ["axial"]
    assert answers(pairs, question_id="T0_a-sequence") == ["no contrast"]
    assert answers(pairs, question_id="T0_a-location_category") == ["Thorax"]
    assert answers(pairs, question_id="T0_a-caption") == ["A mass in the left lung of T0, seen in a."]
    assert answers(pairs, question_id="T0_a-diagnosis") == ["Diagnosis of T0"]


def test_closed_questions_name_the_value_they_ask_for(tmp_path):
    pairs = made(tmp_path)
    for split in SPLITS:
        for row in pairs[split].filter(lambda row: row["question_id"].endswith("plane-closed")):
            assert (row["answer"] == "Yes") == ("an axial" in row["question"])
            assert row["form"] == "closed"


def test_null_fields_and_montages_are_not_asked_about(tmp_path):
    pairs = made(tmp_path, Caption="N/A", Plane="Multiple or Montage")
    names = {row["question_id"].partition("-")[2] for row in pairs["train"] if row["kind"] == "image"}
    assert names == {"modality", "sequence", "location_category", "diagnosis", "modality-closed"}


def test_the_same_data_gives_the_same_pairs(tmp_path):
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    assert all(first[split].to_list() == second[split].to_list() for split in SPLITS)


def test_several_phrasings_are_used(tmp_path):
    asked = {row["question"] for split in SPLITS for row in made(tmp_path)[split] if row["answer"] == "CT scan"}
    assert len(asked) > 1


def test_literature_questions_have_two_levels_and_their_answers_stand_in_the_topic(tmp_path):
    pairs = made(tmp_path, topics=[TOPIC])
    rows = [row for row in pairs["train"] if row["kind"] == "literature" and "Glioma" in row["topic"]]
    assert {row["level"] for row in rows} == {"beginner", "expert"}
    assert all(row["answer"] in TOPIC for row in rows if row["form"] == "open")
    assert all(row["patient_id"] is None and row["image_id"] is None for row in rows)


def test_topics_in_two_splits_leak_until_they_are_kept_in_training(tmp_path):
    pairs = made(tmp_path, topics=[TOPIC, TOPIC])
    assert splits.leakage_counts(pairs)["topic text"] == 1
    repaired, moved = questions.keep_shared_topics_in_training(pairs)
    assert moved > 0
    assert splits.leakage(repaired) == []
    assert not any("Glioma" in (row["topic"] or "") for row in repaired["validation"])
    ids = repaired["train"]["question_id"][:]
    assert len(ids) == len(set(ids))


def test_a_topic_shared_by_validation_and_test_goes_to_training(tmp_path):
    pairs = made(tmp_path, topics=["Another text about nothing at all here.", TOPIC, TOPIC])
    repaired, _ = questions.keep_shared_topics_in_training(pairs)
    assert splits.leakage(repaired) == []
    assert any(row["topic"] and TOPIC in row["topic"] for row in repaired["train"])


def test_false_statements_come_from_no_shared_topic(tmp_path):
    pairs, _ = questions.keep_shared_topics_in_training(made(tmp_path, topics=[TOPIC, TOPIC, TOPIC]))
    for split in ("validation", "test"):
        assert not any(sentence in row["question"] for row in pairs[split] for sentence in sentences(TOPIC))


def test_flagged_pairs_can_be_left_out(tmp_path):
    pairs = made(tmp_path, Caption="A mass of 3 x 2 cm in the left lung.")
    assert answers(pairs, question_id="T0_a-caption")
    kept = questions.without_flags(pairs, ["measurement"])
    assert not answers(kept, question_id="T0_a-caption")
    assert answers(kept, question_id="T0_a-modality")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cyst in the liver.", {"a cyst": True}),
        ("No pleural effusion or pneumothorax.", {"an effusion": False, "a pneumothorax": False}),
        ("A mass without calcification.", {"a mass": True, "calcification": False}),
        ("No mass, but there is an effusion.", {"a mass": False, "an effusion": True}),
        ("Possible fracture of the rib.", {}),
        ("Mass effect on the ventricle.", {"mass effect": True}),
        ("There is a mass. No mass is seen on the right.", {}),
        ("Hydrocephalus, with no haemorrhage.", {"hydrocephalus": True, "haemorrhage": False}),
        ("A non-enhancing mass.", {"a mass": True}),
        ("A nonenhancing cyst is noted.", {"a cyst": True}),
        ("Absent flow void and hyperintense thrombus.", {"a thrombus": True}),
        ("Absent cyst.", {"a cyst": False}),
        ("No communication of the mass with the bone.", {"a mass": True}),
        ("There are no air-filled bronchi within the mass.", {"a mass": True}),
        ("Resolution of the previously noted enhancement.", {}),
        ("No change in the large mass.", {}),
        ("Edema is absent.", {"oedema": False}),
        ("A hernia is not identified.", {"a hernia": False}),
        ("A cyst with no calcification, and a nodule.", {"a cyst": True, "calcification": False, "a nodule": True}),
        ("No evidence of a mass.", {"a mass": False}),
        ("", {}),
        ("The brain is normal.", {}),
    ],
)
def test_findings_and_their_negation(text, expected):
    assert dict(findings_in(text)) == expected
