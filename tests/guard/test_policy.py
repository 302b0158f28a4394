import pytest
import yaml

from medmm_lib.guard import Guard, policy


def changed(tmp_path, change):
    given = yaml.safe_load(policy.SHIPPED.read_text(encoding="utf-8"))
    change(given)
    file = tmp_path / "ours.yml"
    file.write_text(yaml.safe_dump(given, allow_unicode=True), encoding="utf-8")
    return file


def test_a_clinic_changes_action_words_and_phrases(tmp_path):
    def change(given):
        given["topics"]["finding"]["action"] = "defer"
        given["topics"]["finding"]["text"] = {"en": "Ask {person}.", "nl": "Vraag {person}."}
        given["topics"]["finding"]["phrases"] = {"question": ["purple elephants?"]}
        given["person"] = {"en": "Dr Bloom", "nl": "dokter Bloem"}

    guard = Guard.from_policy(changed(tmp_path, change))
    verdict = guard.review("Is that a purple elephant?", "That is the liver.")
    assert (verdict.action, verdict.text) == ("defer", "Ask Dr Bloom.")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda given: given["topics"].pop("diagnosis"), "topics lacks diagnosis"),
        (lambda given: given["topics"].update(joy=given["topics"]["harmless"]), "topics has joy"),
        (lambda given: given["topics"]["diagnosis"].update(action="shout"), "topics.diagnosis.action"),
        (lambda given: given["topics"]["diagnosis"]["text"].pop("nl"), "topics.diagnosis.text lacks nl"),
        (lambda given: given["topics"]["diagnosis"]["text"].update(en="{answer}"), "must not hold"),
        (lambda given: given["topics"]["harmless"]["text"].update(en="Fine."), "must hold"),
        (lambda given: given["topics"]["harmless"]["text"].update(en="{answer} {name}"), "has {name}"),
        (lambda given: given["topics"]["unsafe"].update(phrases={"question": ["("]}), "no regular expression"),
        (lambda given: given["topics"]["unsafe"].update(phrases={"question": ["(?i)x"]}), "no regular expression"),
        (lambda given: given["topics"]["unsafe"].update(phrases={"answer": ["(?P<a>x)"]}), "no regular expression"),
        (lambda given: given["person"].update(en="your doctor ({answer})"), "expected words, without {…}"),
        (lambda given: given.update(threshold=2), "threshold"),
        (lambda given: given.update(treshold=0.5), "treshold"),
    ],
)
def test_a_policy_that_is_none_is_refused(tmp_path, change, told):
    file = changed(tmp_path, change)
    with pytest.raises(ValueError, match=r"ours\.yml is no policy") as error:
        policy.read(file)
    assert told in str(error.value)


def test_a_policy_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"copy policy\.yml"):
        policy.read(tmp_path / "none.yml")
    (tmp_path / "bad.yml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.yml is no YAML"):
        policy.read(tmp_path / "bad.yml")
