"""A patient's session, shown with what the patient would not see: a scan, questions to choose or to write, what the
model says, what is read of it and why, and the report.
"""

import html
from collections.abc import Callable, Sequence

import ipywidgets

from medmm_lib.data.browse import data_uri
from medmm_lib.data.dicom import Scan
from medmm_lib.guard import Guard
from medmm_lib.patient import report

Answerer = Callable[[str], tuple[str, float | None]]  # question → the model's answer and its confidence


def session(scan: Scan, answerer: Answerer, guard: Guard, questions: Sequence[str], model: str) -> ipywidgets.VBox:
    """Ask about a scan; see what the guard lets through and why, and the report of what was asked."""
    buttons = [ipywidgets.Button(description=text, layout={"width": "auto"}) for text in questions]
    text = ipywidgets.Text(placeholder="Your own question", layout={"width": "30rem"})
    ask, made = ipywidgets.Button(description="Ask"), ipywidgets.Button(description="Make the report")
    language = ipywidgets.Dropdown(options=report.LANGUAGES, description="Report in")
    told, page = ipywidgets.HTML(), ipywidgets.HTML()
    asked: list[dict[str, object]] = []
    lines: list[str] = []

    def put(question: str) -> None:
        if not question.strip():
            return
        answer, confidence = answerer(question)
        row = {"question": question, "answer": answer, "confidence": confidence}
        known = {"modality": scan.modality, "location_category": scan.location_category}
        lines.insert(0, turn(guard, row, known))
        asked.append(row)
        told.value = "".join(lines)
        text.value = ""

    def show(_: object = None) -> None:
        composed = report.compose(scan, guard, asked, language=language.value, model=model)
        inside = html.escape(report.to_html(composed))
        page.value = f'<iframe title="The report" srcdoc="{inside}" style="width: 100%; height: 40rem"></iframe>'

    for button in buttons:
        button.on_click(lambda chosen: put(chosen.description))
    ask.on_click(lambda _: put(text.value))
    made.on_click(show)
    row = {"flex_flow": "row wrap"}
    seen = ipywidgets.HTML(picture(scan))
    asking = [ipywidgets.Box(buttons, layout=row), ipywidgets.HBox([text, ask])]
    return ipywidgets.VBox([seen, *asking, told, ipywidgets.HBox([language, made]), page])


def turn(guard: Guard, row: dict[str, object], known: dict[str, object]) -> str:
    """HTML of one question: what the model said, what the patient reads, and why."""
    verdict = guard.review(row["question"], row["answer"], row["confidence"], known)
    why = "; ".join(f"{reason.layer}, {reason.topic}: {reason.seen}" for reason in verdict.reasons) or "nothing found"
    sure = "" if row["confidence"] is None else f" (confidence {row['confidence']:.2f})"
    cells = {
        "the patient asks": row["question"], "the model says": f"{row['answer']}{sure}",
        f"the patient reads ({verdict.action})": verdict.text, "because": why,
    }  # fmt: skip
    left = 'style="width: 10rem; text-align: left; vertical-align: top"'
    lines = "".join(f"<tr><th {left}>{name}</th><td>{html.escape(str(said))}</td></tr>" for name, said in cells.items())
    return f'<table style="width: 100%; margin-bottom: 1rem">{lines}</table>'


def picture(scan: Scan) -> str:
    """HTML of the scan."""
    return f'<img width="256" alt="The scan that is asked about" src="{data_uri(scan.image)}">'
