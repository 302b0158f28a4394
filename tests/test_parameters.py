import ast
import base64
import itertools

import nbformat
import papermill
import pytest
from hypothesis import given
from hypothesis import strategies as st
from papermill.parameterize import parameterize_notebook

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


@pytest.mark.parametrize(
    "cell",
    [
        "x: print('run') = 1",
        "x: [print('run')] = 1",
        "x: list[__import__('os').getcwd()] = []",
        "x: int if print('run') else int = 1",
        "x: Path = 1",
        "x.y: int = 1",
        "x[0]: int = 1",
    ],
)
def test_reading_the_parameters_cell_runs_nothing(tmp_path, capsys, cell):
    with pytest.raises(ParameterError, match="parameters cell"):
        parameters.declared(notebook(tmp_path, cell))
    assert capsys.readouterr().out == ""


def test_all_types_that_chapters_use_are_known(tmp_path):
    cell = "a: dict[str, list[int]] = {}\nb: int | None = None\nc: bool = False\nd: list[float | str] = []"
    assert parameters.declared(notebook(tmp_path, cell)).types == {
        "a": dict[str, list[int]], "b": int | None, "c": bool, "d": list[float | str],
    }  # fmt: skip


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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x: !!python/object/apply:os.system ['echo run']", "could not determine a constructor"),
        ("x: !!python/name:os.system", "could not determine a constructor"),
        ("a: &a [1]\nb: *a", "has an alias"),
        ("a: &a {b: 1}\nc:\n  <<: *a", "has an alias"),
        ("x: " + "[" * 1000 + "]" * 1000, "nested too deeply"),
        ("x: 2026-13-45", "month must be in"),
        ("x: " + "9" * 5000, "integer string conversion"),
    ],
)
def test_files_that_would_run_or_grow_are_refused_by_name(tmp_path, capfd, text, told):
    file = tmp_path / "p.yml"
    file.write_text(text)
    with pytest.raises(ParameterError, match=rf"p\.yml(.|\n)*{told}"):
        parameters.read_file(file)
    assert capfd.readouterr().out == ""


def test_a_few_lines_can_not_stand_for_billions_of_values(tmp_path):
    names = "abcdefghij"
    lines = ["a: &a [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"{new}: &{new} [" + ", ".join([f"*{old}"] * 10) + "]" for old, new in itertools.pairwise(names)]
    (tmp_path / "p.yml").write_text("\n".join(lines))
    with pytest.raises(ParameterError, match="has an alias"):
        parameters.read_file(tmp_path / "p.yml")


def test_a_file_that_is_no_utf8_is_named(tmp_path):
    (tmp_path / "p.yml").write_bytes(b"a: \xff")
    with pytest.raises(ParameterError, match=r"p\.yml"):
        parameters.read_file(tmp_path / "p.yml")


@pytest.mark.parametrize("kind", [str, list[str], int, float, str | None, dict[str, str]])
def test_what_papermill_would_write_into_the_notebook_as_code_fits_no_type(tmp_path, kind):
    # Papermill 2.7 writes bytes and sets between quotes without escaping the quotes in them.
    code = base64.b64encode(b'"; print(1) #').decode()
    (tmp_path / "p.yml").write_text(f"a: !!binary {code}\nb: !!set {{'\"; print(1) #'}}\n")
    for value in parameters.read_file(tmp_path / "p.yml").values():
        with pytest.raises(ParameterError, match="parameter 'x'"):
            parameters.check({"x": kind}, {"x": value})


PIECES = [*"\"'\\\n\r\t{}()#;%$!`aä漢\u2028\0\ud800", '"); import os #', "__import__"]
HOSTILE = st.lists(st.sampled_from(PIECES)).map("".join) | st.text()


@given(st.dictionaries(st.sampled_from(["text", "texts", "table"]), HOSTILE, min_size=1))
def test_every_text_reaches_the_notebook_as_it_is(drawn):
    values = {
        name: {"text": value, "texts": [value, value], "table": {value: value}}[name] for name, value in drawn.items()
    }
    cell = nbformat.v4.new_code_cell("text: str = ''", metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    given_notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel, "papermill": {}})
    [injected] = [
        cell.source for cell in parameterize_notebook(given_notebook, values).cells if cell.source != "text: str = ''"
    ]
    statements = ast.parse(injected).body
    assert {one.targets[0].id: ast.literal_eval(one.value) for one in statements} == values


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
