import json

import pytest

from medmm_lib import cli, paths, running, sources
from medmm_lib.parameters import ParameterError
from medmm_lib.running import RunError
from tests.chapters import write_chapter


def test_chapters_run_once_in_order_and_again_only_when_something_changed(project, capsys):
    assert running.run("quick") == ["01_first", "02_second"]
    assert json.loads((project / "artifacts/quick/01_first/results.json").read_text())["metrics"] == {
        "double_rate": 1.0
    }
    assert running.run("quick") == []
    assert "Nothing to do" in capsys.readouterr().out

    (project / "params/quick/02_second.yml").write_text("rate: 0.25\n")
    assert running.run("quick") == ["02_second"]
    assert "changed: parameters" in capsys.readouterr().out

    (project / "params/quick/01_first.yml").write_text("rate: 2.0\n")
    assert running.run("quick") == ["01_first", "02_second"]  # the second reads the first one's results
    assert running.run("quick", only=["02_second"], force=True) == ["02_second"]


def test_lost_results_and_those_of_another_run_make_a_chapter_stale(project):
    running.run("quick", only=["01_first"])
    summary = project / "artifacts/quick/01_first/results.json"
    whole = summary.read_text()
    summary.unlink()
    assert running.run("quick", only=["01_first"]) == ["01_first"]
    summary.write_text(whole.replace('"parameters_hash": "', '"parameters_hash": "x'))
    assert running.run("quick", only=["01_first"]) == ["01_first"]


def test_a_killed_kernel_is_told_with_its_notebook(project):
    write_chapter(project, "01_first", body="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RunError, match=r"the kernel died(.|\n)*partial\.ipynb"):
        running.run("quick", only=["01_first"])


def test_ipythons_own_syntax_is_no_obstacle(project):
    write_chapter(project, "01_first", body="x = !echo hello\nassert list(x) == ['hello']\n%time y = 1")
    assert running.run("quick", only=["01_first"]) == ["01_first"]


def test_a_parameter_written_out_as_its_default_changes_nothing(project):
    running.run("quick", only=["01_first"])
    (project / "params/quick/01_first.yml").write_text("")
    assert running.run("quick", only=["01_first"]) == []


def test_a_failing_cell_is_shown_and_the_page_so_far_kept(project):
    write_chapter(project, "01_first", body='raise ValueError("the disk is purple")')
    with pytest.raises(RunError, match=r"01_first failed in cell 4(.|\n)*the disk is purple(.|\n)*partial\.ipynb"):
        running.run("quick")
    assert (project / "artifacts/quick/01_first/notebook.partial.ipynb").is_file()
    assert not (project / "artifacts/quick/01_first/notebook.ipynb").exists()
    assert not (project / "artifacts/quick/02_second").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("rat: 1.0\n", r"02_second\.yml: unknown parameter 'rat'"),
        ("rate: 1e-3\n", r"write 1\.0e-3"),
        ("rate; import os: 1.0\n", r"02_second\.yml: unknown parameter 'rate; import os'"),
        ("? 'rate = 1.0\n\n  import os #'\n: 1.0\n", "unknown parameter 'rate = 1.0"),
        ("1: 1.0\n", "unknown parameter 1"),
        ("rate: !!python/object/apply:os.system ['true']\n", r"02_second\.yml"),
    ],
)
def test_bad_parameters_stop_before_any_chapter_runs(project, monkeypatch, values, message):
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("it was run"))
    (project / "params/quick/02_second.yml").write_text(values)
    with pytest.raises((RunError, ParameterError), match=message):
        running.run("quick")
    assert not (project / "artifacts").exists()


def test_a_profile_runs_the_chapters_that_it_has_a_file_for(project):
    (project / "params" / "study").mkdir()
    (project / "params" / "study" / "01_first.yml").write_text("profile: study\n")
    assert running.run("study") == ["01_first"]
    with pytest.raises(RunError, match=r"02_second\.yml"):
        running.run("study", only=["02_second"])


def test_unknown_chapters_and_profiles_are_named(project):
    with pytest.raises(RunError, match=r"03_third\. There are: 01_first, 02_second"):
        running.run("quick", only=["03_third"])
    with pytest.raises(RunError, match="Profiles: quick"):
        running.run("quik")


def test_what_a_chapter_reads_must_be_there(project):
    with pytest.raises(RunError, match="run `medmm run --profile quick --only 01_first`"):
        running.run("quick", only=["02_second"])


def test_the_command_tells_the_error_and_fails(project, capsys):
    assert cli.main(["run", "--profile", "quik"]) == 1
    assert "medmm: there is no" in capsys.readouterr().err


def test_the_code_hash_follows_cells_and_library(project, monkeypatch):
    before = sources.code_hash("01_first")
    assert sources.code_hash("01_first") == before
    write_chapter(project, "01_first", body="x = 1")
    assert sources.code_hash("01_first") != before


def test_the_code_hash_follows_the_programs_that_a_chapter_runs(project, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", project)
    (project / "programs").mkdir()
    program = project / "programs" / "measure.py"
    program.write_text("repeats = 1")
    write_chapter(project, "01_first", runs=["programs"])
    before = sources.code_hash("01_first")
    program.write_text("repeats = 2")
    assert sources.code_hash("01_first") != before


def test_library_files_follow_imports():
    names = {path.name for path in sources.library_files("from medmm_lib.data.findings import findings_in")}
    assert {"findings.py", "medpix.py"} <= names  # through the package's own __init__
    assert "cli.py" not in names
    assert sources.library_files("import numpy") == []
    kernels = {path.name for path in sources.library_files("from medmm_kernels import mask_batch")}
    assert {"batch.py", "samples.py", "kernel.py"} <= kernels  # what the package imports only when it is needed


def test_a_chapter_runs_again_when_the_figures_of_others_change(project, monkeypatch, capsys):
    file = project / "figures.csv"
    file.write_text("what,value\n")
    monkeypatch.setattr(running, "PUBLISHED", (file,))
    assert running.run("quick", only=["01_first"]) == ["01_first"]
    assert running.run("quick", only=["01_first"]) == []
    file.write_text("what,value\na,1\n")
    assert running.run("quick", only=["01_first"]) == ["01_first"]
    assert "changed: published figures" in capsys.readouterr().out
