from safetensors import safe_open

from medmm_lib.guard import Guard, cases, classifier
from medmm_lib.guard.__main__ import SAMPLED, read


def test_the_shipped_weights_learnt_from_the_cases_as_they_are_read_now():
    guard, sample = Guard.from_policy(), cases.taught()[::SAMPLED]
    with safe_open(classifier.SHIPPED, "numpy") as file:
        learnt = file.metadata()["seen"]
    told = "cases or rules changed: run `python -m medmm_lib.guard`, and choose policy.yml's threshold again"
    assert learnt == classifier.digest(*read(guard, sample), guard.rules), told


def test_training_again_learns_what_it_is_taught(tmp_path):
    guard, taught = Guard.from_policy(), cases.training().groupby("topic").head(40)
    asked, said = read(guard, taught)
    trained = classifier.Classifier.fit(asked, said, taught["topic"], guard.rules)
    trained.save(tmp_path / "weights.safetensors", "a digest")
    again = classifier.Classifier.load(tmp_path / "weights.safetensors")
    likeliest = again.probabilities(asked, said, guard.rules).argmax(axis=1)
    assert (taught["topic"] == [classifier.LEARNT[place] for place in likeliest]).mean() > 0.95
