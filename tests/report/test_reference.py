"""The page of public names says what the code says."""

import re
from importlib import import_module

import pytest

import medmm_kernels
from medmm_lib.site import pandoc, reference

OFFERED = [(module, name) for _, _, modules in reference.OFFERED for module, names in modules.items() for name in names]
# The names that other code relies on.
STABLE = [
    ("medmm_lib.data", "load"),
    ("medmm_lib.data.quality", "flags"),
    ("medmm_lib.data.splits", "leakage"),
    ("medmm_lib.vlm.memory", "plan"),
    ("medmm_lib.scaling", "fit_power_law"),
    ("medmm_lib.scaling", "fit_parametric"),
    ("medmm_lib.evaluation", "text_metrics"),
    ("medmm_lib.guard", "Guard"),
    ("medmm_lib.fourm", "FourM"),
    *(("medmm_kernels", name) for name in medmm_kernels.__all__),
]


@pytest.fixture(scope="module")
def page():
    return reference.page()


@pytest.mark.parametrize(("module", "name"), OFFERED)
def test_every_name_can_be_imported_and_says_what_it_does(page, module, name):
    offered = getattr(import_module(module), name)
    assert offered.__doc__
    assert re.search(rf"### `{name}`\n\nfrom `{re.escape(module)}`\n\n```python\n(class )?{name}\(", page)


def test_the_stable_names_are_on_the_page():
    assert set(STABLE) <= set(OFFERED)


def test_methods_are_told_with_their_class(page):
    assert "Guard.review(question: str, answer: str" in re.sub(r"\(\n\s+", "(", re.sub(r",\n\s+", ", ", page))
    assert "FourM.generate(" in page
    assert "(self" not in page


def test_marks_in_a_docstring_stay_text_and_lists_stay_lists(monkeypatch, tmp_path):
    def odd() -> None:
        """Costs $1 to $2 @somebody, *not* _bold_ {{< var x >}} <b> [B, N]; `code_*` stays.

        One of
        - `this`: which goes on
          in the next line;
        - that.

        Source: none.
        """

    monkeypatch.setattr(reference, "OFFERED", [("Odd", "Oddities.", {"odd_module": ["odd"]})])
    monkeypatch.setattr(reference, "import_module", lambda name: type("Module", (), {"odd": staticmethod(odd)}))
    page = reference.page()
    assert "{{<" not in page  # a shortcode to Quarto, wherever it stands
    markdown = pandoc.with_resolved_references("reference.qmd", page, tmp_path / "none.bib")
    assert "{{<" not in markdown
    shown = re.sub(r"\\(.)", r"\1", markdown)
    assert "Costs $1 to $2 @somebody, *not* _bold_ {{< var x >}} <b> [B, N]; `code_*` stays." in shown
    lines = re.sub(r"\n\n+", "\n", shown)
    assert re.search(r"\nOne of\n- +`this`: which goes on\s+in the next line;\n- +that.\nSource: none", lines)
