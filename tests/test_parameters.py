import nbformat
import papermill
import pytest

from medmm_lib import parameters
from medmm_lib.parameters import ParameterError


def notebook(
    folder, cell, tags=("parameters",), then="from medmm_lib.parameters import read\nvalues = read(globals())"
):
    cells = [nbformat.v4.new_code_cell(cell, metadata={"tags": list(tags)}), nbformat.v4.new_code_cell(then)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = folder / "chapter.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_declared_gives_types_and_defaults(tmp_path):
    found = parameters.declared(notebook(tmp_path, "lr: float = 1e-4  # peak\nnames: list[str] = ['a']"))
    assert found.types == {"lr": float, "names": list[str]}
    assert found.defaults == {"lr": 1e-4, "names": ["a"]}


@pytest.mark.parametrize("cell", ["lr = 1e-4", "lr: float = 2 * 3.0", "import os", "lr: float"])
def test_the_parameters_cell_holds_annotated_literals_only(tmp_path, cell):
    with pytest.raises(ParameterError, match="parameters cell"):
        parameters.declared(notebook(tmp_path, cell))


def test_a_notebook_without_the_cell_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="one cell tagged 'parameters', found 0"):
        parameters.declared(notebook(tmp_path, "lr: float = 1.0", tags=()))


def test_unknown_names_are_refused_and_the_known_ones_listed():
    with pytest.raises(ParameterError, match=r"unknown parameter 'leraning_rate'.*learning_rate"):
        parameters.check({"learning_rate": float}, {"leraning_rate": 1.0})


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(float, "1e-3"), (int, 1.5), (int, True), (bool, 1), (str, 3), (list[str], "a"), (list[str], [1]), (float, None)],
)
def test_wrong_types_are_refused_by_name(annotation, value):
    with pytest.raises(ParameterError, match="parameter 'x'"):
        parameters.check({"x": annotation}, {"x": value})


@pytest.mark.parametrize(("annotation", "value"), [(float, 1), (float, 1e-3), (str | None, None), (list[str], [])])
def test_right_types_pass(annotation, value):
    parameters.check({"x": annotation}, {"x": value})


def test_yamls_number_trap_is_explained(tmp_path):
    file = tmp_path / "p.yml"
    file.write_text("lr: 1e-3\n")
    with pytest.raises(ParameterError, match=r"write 1\.0e-3"):
        parameters.check({"lr": float}, parameters.read_file(file))


def test_the_advice_for_the_number_trap_is_a_yaml_number(tmp_path):
    for text in ("1e-3", "2.5e4", "3E10"):
        file = tmp_path / "p.yml"
        file.write_text(f"lr: {text}\n")
        values = parameters.read_file(file)
        if isinstance(values["lr"], float):
            continue
        with pytest.raises(ParameterError) as caught:
            parameters.check({"lr": float}, values)
        file.write_text(f"lr: {str(caught.value).rpartition('write ')[2]}\n")
        assert parameters.read_file(file)["lr"] == float(text)


def test_broken_parameter_files_are_named(tmp_path):
    file = tmp_path / "p.yml"
    file.write_text("a: [1\n")
    with pytest.raises(ParameterError, match=r"p\.yml"):
        parameters.read_file(file)
    file.write_text("- a\n")
    with pytest.raises(ParameterError, match="expected lines"):
        parameters.read_file(file)
    file.write_text("")
    assert parameters.read_file(file) == {}


def test_read_works_in_a_plain_namespace():
    namespace = {"__annotations__": {"lr": float}, "lr": 0.1}
    assert parameters.read(namespace) == {"lr": 0.1}
    with pytest.raises(ParameterError, match="unknown parameter 'typo'"):
        parameters.read(namespace | {"typo": 1})


@pytest.mark.parametrize(
    ("values", "message"), [({"lr": "1e-3"}, "parameter 'lr'"), ({"lrr": 0.1}, "unknown parameter 'lrr'")]
)
def test_plain_papermill_stops_at_a_bad_parameter(tmp_path, values, message):
    path = notebook(tmp_path, "lr: float = 1e-4  # peak learning rate")
    with pytest.raises(papermill.PapermillExecutionError, match=message):
        papermill.execute_notebook(path, tmp_path / "out.ipynb", parameters=values, progress_bar=False)


def test_a_cell_run_again_by_hand_is_no_unknown_parameter(tmp_path):
    then = "from medmm_lib.parameters import read\nread(globals())\nlater = 1\nassert read(globals()) == {'lr': 0.5}"
    path = notebook(tmp_path, "lr: float = 1e-4", then=then)
    papermill.execute_notebook(path, tmp_path / "out.ipynb", parameters={"lr": 0.5}, progress_bar=False)
