import re

import jupytext
import nbformat
import papermill
import pytest

from medmm_lib import parameters, paths

CHAPTERS = paths.chapters()
FILES = sorted(paths.PARAMS.glob("*/[0-9]*.yml"))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_is_a_pair_without_outputs(chapter):
    notebook = nbformat.read(paths.NOTEBOOKS / f"{chapter}.ipynb", as_version=4)
    script = jupytext.read(paths.NOTEBOOKS / f"{chapter}.py")
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in script.cells]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"


# A folder of somebody's machine, at the start of a path.
MACHINE = re.compile(r"(?<![\w./-])(?:/(?:home|work|Users|root|tmp|mnt|data|scratch)/\w|[A-Za-z]:\\+\w)")


@pytest.mark.parametrize("path", ["/home/me", '"/scratch/me"', "see /Users/a/b", "C:\\Users", "D:\\\\data", "=/tmp/x"])
def test_a_path_of_a_machine_is_seen(path):
    assert MACHINE.search(path)


@pytest.mark.parametrize("path", ["~/data", "../data/x", "https://a.example/data/x", "artifacts/quick/x", "either/or"])
def test_other_paths_are_no_paths_of_a_machine(path):
    assert not MACHINE.search(path)


@pytest.mark.parametrize("file", [f"{chapter}.{ending}" for chapter in CHAPTERS for ending in ("py", "ipynb")])
def test_a_chapter_names_no_path_of_a_machine(file):
    text = (paths.NOTEBOOKS / file).read_text(encoding="utf-8")
    assert str(paths.ROOT) not in text
    assert MACHINE.findall(text) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapters_metadata_is_what_a_run_needs_and_no_more(chapter):
    notebook = nbformat.read(paths.NOTEBOOKS / f"{chapter}.ipynb", as_version=4)
    assert set(notebook.metadata) <= {"jupytext", "kernelspec", "language_info", "medmm"}
    # Jupytext keeps the number of empty lines between cells.
    assert {name for cell in notebook.cells for name in cell.metadata} <= {"tags", "lines_to_next_cell"}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_parameter_says_what_it_is(chapter):
    found = papermill.inspect_notebook(paths.NOTEBOOKS / f"{chapter}.ipynb")
    assert set(found) == set(parameters.declared(paths.NOTEBOOKS / f"{chapter}.ipynb").types)
    assert all(parameter["help"] for parameter in found.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_parameter_file_fits_its_notebook(file):
    declared = parameters.declared(paths.NOTEBOOKS / f"{file.stem}.ipynb")
    values = parameters.read_file(file)
    parameters.check(declared.types, values)
    assert values["profile"] == file.parent.name


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_defaults_are_the_quick_profile(chapter):
    declared = parameters.declared(paths.NOTEBOOKS / f"{chapter}.ipynb")
    assert declared.defaults | parameters.read_file(paths.PARAMS / "quick" / f"{chapter}.yml") == declared.defaults


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_figure_and_table_cell_has_a_caption(chapter):
    for cell in nbformat.read(paths.NOTEBOOKS / f"{chapter}.ipynb", as_version=4).cells:
        for kind in ("fig", "tbl"):
            if f"#| label: {kind}-" in cell.source:
                assert f"#| {kind}-cap:" in cell.source


def test_the_kernels_folder_never_shadows_the_package_of_that_name():
    assert not (paths.ROOT / "kernels" / "__init__.py").exists()
