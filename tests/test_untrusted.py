"""What comes from outside runs no code: rules that ruff has no name for."""

import ast
import re

import jupytext
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image
from transformers import AutoModelForImageTextToText, CLIPModel

from medmm_lib import paths
from medmm_lib.contrastive import clip, text_targets
from medmm_lib.contrastive import explore as contrastive
from medmm_lib.data import browse, examples
from medmm_lib.data.dicom import Scan
from medmm_lib.data.schema import FEATURES
from medmm_lib.evaluation import example_page
from medmm_lib.fourm import explore as fourm
from medmm_lib.guard import Guard
from medmm_lib.patient import report
from medmm_lib.patient.session import turn
from medmm_lib.sortable import sortable
from medmm_lib.vlm import explore as vlm
from medmm_lib.vlm import loading

PROGRAMS = sorted(
    path
    for folder in ("medmm_lib", "kernels", "notebooks", ".ci")
    for path in (paths.ROOT / folder).rglob("*.py")
    if ".ipynb_checkpoints" not in path.parts
)
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
READERS = {"torch.load", "pd.read_pickle", "pandas.read_pickle", "np.fromfile", "yaml.load", "yaml.unsafe_load"}


def wrong(source):
    """What a program does that could run code of a file it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in PICKLING]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").partition(".")[0] in PICKLING else []
        elif isinstance(node, ast.Call):
            named = {word.arg: word.value for word in node.keywords}
            found += [name for name in ("allow_pickle", "trust_remote_code") if name in named]
            called = ast.unparse(node.func)
            found += [called] if called in READERS else []
            weights = called.endswith("from_pretrained") and called.split(".")[0].startswith(("AutoModel", "CLIPModel"))
            if weights and "use_safetensors" not in named and "gguf_file" not in named:
                found.append(called)
    return found


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(paths.ROOT)))
def test_no_program_reads_what_could_run_code(path):
    notebook = path.parent == paths.NOTEBOOKS
    cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"] if notebook else []
    assert wrong("\n".join(cells) if notebook else path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "import torch\ntorch.load('a')", "np.load('a', allow_pickle=True)",
        "pd.read_pickle('a')", "AutoModel.from_pretrained('a')", "f(trust_remote_code=True)",
    ],
)  # fmt: skip
def test_each_way_is_seen(source):
    assert wrong(source)


@pytest.mark.parametrize(
    ("kind", "load"),
    [
        (AutoModelForImageTextToText, lambda: loading.load("a/b", "fp32")),
        (CLIPModel, lambda: clip.Clip.load("a/b")),
        (text_targets.AutoModel, lambda: text_targets.language_model("a/b")),
    ],
)
def test_models_by_name_come_as_safetensors_only(monkeypatch, kind, load):
    asked = {}

    class Asked(Exception):
        pass

    def from_pretrained(_, **options):
        asked.update(options)
        raise Asked

    monkeypatch.setattr(kind, "from_pretrained", from_pretrained)
    monkeypatch.setattr(text_targets.AutoTokenizer, "from_pretrained", lambda _: None)
    with pytest.raises(Asked):
        load()
    assert asked["use_safetensors"] is True
    assert "trust_remote_code" not in asked


HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '" onload="alert(1)', "</td></tr></table><b>bold</b>",
    "{{ 7 * 191 }}",
]  # fmt: skip
GREY = Image.new("L", (8, 8))
SCAN = Scan(GREY, "MR", "axial", "Head")


def hostile_case(text):
    row = examples()[0]
    return row | {name: text for name, kind in FEATURES.items() if getattr(kind, "dtype", "") == "string"}


def asked(text):
    return {"question": f"Is it {text}?", "answer": text, "confidence": None}


def hostile_example(text):
    scores = dict.fromkeys(example_page.SCORES, 0.0)
    return example_page.Example(GREY, text, text, dict.fromkeys(("model", text), (text, scores)), ("all",))


MAKERS = {
    "browse": lambda text: browse.page([hostile_case(text)]),
    "vlm": lambda text: vlm.case({"image": GREY, "type": text} | asked(text), {text: text}, text),
    "fourm": lambda text: fourm.picture(GREY, None, text, text),
    "contrastive": lambda text: contrastive.picture(GREY, text),
    "sortable": lambda text: sortable(pd.DataFrame({text: [text]}), {text: [text]}).data,
    "examples": lambda text: example_page.page({text: [hostile_example(text)]}).data,
    "session": lambda text: turn(Guard.from_policy(), asked(text), {}),
    "report": lambda text: report.to_html(report.compose(SCAN, Guard.from_policy(), [asked(text)], model=text)),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_texts_of_the_data_never_become_markup(maker):
    plain = BeautifulSoup(MAKERS[maker]("harmless"), "html.parser")
    for text in HOSTILE:
        page = BeautifulSoup(MAKERS[maker](text), "html.parser")
        known = {(tag.name, *sorted(tag.attrs)) for tag in plain.find_all()}
        assert {(tag.name, *sorted(tag.attrs)) for tag in page.find_all()} <= known
        assert "1337" not in page.text  # no template was filled in


NOTEBOOKS = [path for path in PROGRAMS if path.parent == paths.NOTEBOOKS]
OF_THE_DATA = re.compile(rf"\[['\"](?:{'|'.join([*FEATURES, 'question', 'answer'])})['\"]\](?:\[\w+\])*")


def unescaped(source):
    """The fields of the data that an f-string puts into HTML as they are."""
    strings = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)]
    for string in strings:
        told = "".join(str(part.value) for part in string.values if isinstance(part, ast.Constant))
        values = [ast.unparse(part.value) for part in string.values if isinstance(part, ast.FormattedValue)]
        if re.search(r"</?[a-z]", told):
            yield from (value for value in values if OF_THE_DATA.search(value) and value.endswith("]"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_escape_what_they_put_into_html(path):
    cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert list(unescaped("\n".join(cells))) == []


def test_a_field_that_is_not_escaped_is_seen():
    assert list(unescaped("f\"<p>{test['caption'][k]}</p>\"")) == ["test['caption'][k]"]
    assert list(unescaped("f\"<p>{html.escape(test['caption'][k])}</p>\"")) == []
