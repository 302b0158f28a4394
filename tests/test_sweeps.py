import pandas as pd
import pytest

from medmm_lib import cli, paths, results, sweeps
from medmm_lib.running import RunError
from tests.chapters import write_chapter


@pytest.fixture
def swept(project, monkeypatch):
    """Write a sweep's file and give its path."""
    monkeypatch.setattr(paths, "SWEEPS", project / "params" / "sweeps")
    paths.SWEEPS.mkdir(parents=True)

    def write(text, name="rates"):
        file = paths.SWEEPS / f"{name}.yml"
        file.write_text("chapter: 01_first\nprofile: quick\n" + text)
        return file

    return write


def test_every_combination_gets_its_folder_and_finished_ones_are_skipped(swept, project, capsys):
    file = swept("grid: {rate: [0.25, 2.0]}\nmetrics: [double_rate]\n")
    assert cli.main(["run", "--sweep", str(file)]) == 0
    table = pd.read_csv(paths.ARTIFACTS / "sweeps/rates/results.csv")
    assert table[["rate", "double_rate"]].to_numpy().tolist() == [[0.25, 0.5], [2.0, 4.0]]
    for rate in ("0.25", "2.0"):
        own = f"sweeps/rates/rate={rate}"
        assert (paths.ARTIFACTS / own / "01_first/notebook.ipynb").is_file()
        assert results.latest(own, "01_first")["parameters"] == {"profile": own, "rate": float(rate)}
    capsys.readouterr()
    assert cli.main(["run", "--sweep", str(file)]) == 0
    assert capsys.readouterr().out.count("01_first: up to date") == 2
    file = swept("grid: {rate: [0.25, 2.0, 3.0]}\n")
    sweeps.run(file)
    assert capsys.readouterr().out.count("01_first: up to date") == 2
    assert len(pd.read_csv(paths.ARTIFACTS / "sweeps/rates/results.csv")) == 3


def test_a_list_names_its_runs_one_by_one(swept):
    table = pd.read_csv(sweeps.run(swept("list: [{rate: 1.0}, {rate: 4.0}]\n")))
    assert table["double_rate"].tolist() == [2.0, 8.0]


def test_chapters_that_are_read_are_those_of_the_profile(swept, project, capsys):
    file = swept("grid: {rate: [1.0]}\n")
    file.write_text(file.read_text().replace("01_first", "02_second"))
    with pytest.raises(RunError, match="run `medmm run --profile quick --only 01_first`"):
        sweeps.run(file)
    assert cli.main(["run", "--only", "01_first"]) == 0
    assert pd.read_csv(sweeps.run(file))["double_rate"].tolist() == [2.0]


def test_a_run_that_fails_is_told_and_the_others_go_on(swept, project):
    write_chapter(project, "01_first", body="assert rate < 2, 'too fast'")
    with pytest.raises(RunError, match=r"1 of 3 runs failed(.|\n)*rate 2.0(.|\n)*too fast"):
        sweeps.run(swept("grid: {rate: [1.0, 2.0, 0.5]}\n"))
    table = pd.read_csv(paths.ARTIFACTS / "sweeps/rates/results.csv")
    assert table["double_rate"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "either `grid:`"),
        ("grid: {rate: [1.0]}\nlist: [{rate: 1.0}]\n", "either `grid:`"),
        ("grid: {rate: 1.0}\n", "expected lists of values"),
        ("list: []\n", "expected a list of mappings"),
        ("grid: {rat: [1.0]}\n", "unknown parameter 'rat'"),
        ("grid: {rate: [fast]}\n", "'rate' is 'fast'"),
        ("grid: {profile: [mine]}\n", "profile can't be swept"),
        ("grid: {rate: [1.0, 1.0]}\n", "two runs have the same values"),
        ("gird: {rate: [1.0]}\n", "unknown key 'gird'"),
    ],
)
def test_a_wrong_file_is_told_before_anything_runs(swept, text, told):
    with pytest.raises(RunError, match=told):
        sweeps.run(swept(text))
    assert not (paths.ARTIFACTS / "sweeps").exists()


def test_a_missing_file_and_a_chapter_beside_it_are_told(tmp_path, capsys):
    assert cli.main(["run", "--sweep", str(tmp_path / "none.yml")]) == 1
    assert "there is no" in capsys.readouterr().err
    for beside in (["--only", "01_data_preparation"], ["--profile", "dsri"]):
        assert cli.main(["run", "--sweep", "x.yml", *beside]) == 1
        assert "leave --only and --profile out" in capsys.readouterr().err


@pytest.mark.parametrize("file", sorted((paths.ROOT / "params" / "sweeps").glob("*.yml")), ids=lambda file: file.stem)
def test_the_projects_own_sweeps_can_be_run(file):
    assert sweeps.read(file).points
