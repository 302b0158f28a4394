"""The patient report: one page, in plain words, as HTML or PDF. It is made on this machine and loads nothing."""

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml
from PIL import Image, ImageFile, UnidentifiedImageError

from medmm_lib import paths
from medmm_lib.data import dicom
from medmm_lib.data.browse import data_uri
from medmm_lib.data.dicom import Scan
from medmm_lib.data.loaded import DataError
from medmm_lib.data.pictures import UNREADABLE, opened
from medmm_lib.guard import Guard, Verdict
from medmm_lib.guard.plain import legible
from medmm_lib.patient.healthy import healthy
from medmm_lib.patient.outlines import NoOutlines, Outlined, outlined

LANGUAGES = ("en", "nl")
LONGEST = 400  # letters of a question that the page repeats
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Report:
    """What goes into a report. `asked`: questions with what the guard made of their answers. `why`: where there are no
    outlines, the reason's name in words.yml and what fills it in."""

    scan: Scan
    outlines: Outlined | None
    why: tuple[str, dict[str, str]] | None
    asked: tuple[tuple[str, Verdict], ...]
    language: str
    model: str | None = None


def read_scan(path: str | Path) -> Scan:
    """A scan from a DICOM file, or from a PNG or JPEG, of which nothing is known but what its texts say: modality,
    plane, location_category, and `source`, which begins with "phantom" where it is drawn. Raises DataError for others.
    """
    try:
        with opened(Path(path)) as picture:
            grey, texts = _grey(picture), picture.info
        known = {name: texts.get(name) for name in ("modality", "plane", "location_category")}
        return Scan(grey, **known, drawn=str(texts.get("source", "")).startswith("phantom"))
    except UnidentifiedImageError:
        return dicom.read(path)
    except FileNotFoundError as error:
        raise DataError(f"there is no scan at {path}") from error
    except UNREADABLE as error:
        raise DataError(f"the picture in {path} can't be read: {error}") from error


def _grey(picture: Image.Image) -> Image.Image:
    """In 256 greys; values of 16 bits between the least and the greatest."""
    if not picture.mode.startswith(("I", "F")):
        return picture.convert("L")
    values = np.asarray(picture, dtype=float)
    span = max(float(np.ptp(values)), 1e-9)
    return Image.fromarray(np.round(255 * (values - values.min()) / span).astype(np.uint8))


def read_questions(path: str | Path) -> list[dict[str, Any]]:
    """Questions and the model's answers, a JSON object a line: question, answer, and confidence (0 to 1) where known.

    Raises DataError that names the line.
    """
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: {error}; expected a JSON object") from error
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("question", "answer")):
            raise DataError(f"{path}, line {number}: expected a JSON object with the texts “question” and “answer”")
        sure = row.get("confidence")
        if sure is not None and (isinstance(sure, bool) or not isinstance(sure, int | float) or not 0 <= sure <= 1):
            raise DataError(f"{path}, line {number}: confidence is {sure!r}; expected a number from 0 to 1, or null")
        rows.append(row)
    return rows


def compose(
    scan: Scan, guard: Guard, questions: Sequence[dict[str, Any]] = (), *, segmentation: Image.Image | None = None,
    language: str = "en", model: str | None = None, drawn: bool = False,
) -> Report:  # fmt: skip
    """A report on a scan. `segmentation`: a label map; `drawn`: that it comes from a model trained on drawings, which
    is refused for a real scan. Raises ValueError for another language than en and nl."""
    if language not in LANGUAGES:
        raise ValueError(f"language is {language!r}; expected one of {', '.join(LANGUAGES)}")
    known = {"modality": scan.modality, "plane": scan.plane, "location_category": scan.location_category}
    asked = tuple(
        (row["question"], guard.review(row["question"], row["answer"], row.get("confidence"), known))
        for row in questions
    )
    outlines, why = None, ("why_none", {})
    if segmentation is not None and drawn and not scan.drawn:
        why = ("why_model", {})
    elif segmentation is not None:
        try:
            outlines, why = outlined(scan.image, _fitted(segmentation, scan)), None
        except NoOutlines as error:
            why = (error.why, error.blanks)
    return Report(scan, outlines, why, asked, language, model)


def _fitted(labels: Image.Image, scan: Scan) -> Image.Image:
    """A label map of the picture as it is stored, in the size in which it is shown."""
    stored = labels.size == scan.stored and labels.size != scan.image.size
    return labels.resize(scan.image.size, Image.Resampling.NEAREST) if stored else labels


def write(report: Report, path: str | Path) -> None:
    """The report as a page of HTML, or as PDF where the path ends so; whole or not at all."""
    path, page = Path(path), to_html(report)
    if path.suffix == ".pdf":
        strict = ImageFile.LOAD_TRUNCATED_IMAGES
        import weasyprint  # loads fonts and a layout engine: only where a PDF is wanted

        ImageFile.LOAD_TRUNCATED_IMAGES = strict  # it lets Pillow read broken pictures, everywhere and from then on
        nothing_else = weasyprint.urls.URLFetcher(allowed_protocols={"data"}, fail_on_errors=True)
        paths.write_atomically(path, weasyprint.HTML(string=page, url_fetcher=nothing_else).write_pdf())
    elif path.suffix in (".html", ".htm"):
        paths.write_atomically(path, page)
    else:
        raise ValueError(f"the report would be {path.name}; expected a name that ends in .html or .pdf")


def to_html(report: Report) -> str:
    """The report as a page that needs no other file."""
    words = _words()[report.language]
    from_the_side = report.scan.plane in ("sagittal", "lateral")
    pictures = [_picture(report.scan.image, words["scan"], "" if from_the_side else words["sides"])]
    legend = [(words["classes"][name], colour) for name, colour in report.outlines.legend] if report.outlines else []
    if report.outlines:
        named = ", ".join(name for name, _ in legend)
        pictures.append(_picture(report.outlines.image, words["outlines"], f"{named[:1].upper()}{named[1:]}."))
    notes = [words["frame"].format(*report.scan.frame)] if report.scan.frame else []
    if report.scan.names_in_picture:
        notes.append(words["names_in_picture"])
    if report.why:
        name, blanks = report.why
        notes.append(words["no_outlines"].format(why=words[name].format(**blanks)))
    if like := healthy(report.scan.modality, report.scan.plane, report.scan.location_category):
        pictures.append(_picture(like[0], words["healthy"], words[like[1]]))
    else:
        notes.append(words["no_healthy"])
    asked = [{"question": _asked(question, verdict, words), "text": verdict.text} for question, verdict in report.asked]
    time, model = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), report.model or words["no_model"]
    made = words["made"].format(time=time, version=version("medmm"), commit=_commit(), model=model)
    return _template().render(
        language=report.language, words=words, pictures=pictures, notes=notes, seen=seen(report.scan, report.language),
        legend=legend, asked=asked, glossary=explained([one["text"] for one in asked], report.language), made=made,
    )  # fmt: skip


def _asked(question: str, verdict: Verdict, words: dict[str, Any]) -> str:
    """The question as the page repeats it: not where nobody should read it again, and not at great length."""
    if verdict.action == "block" or verdict.topic == "unreadable":
        return words["not_repeated"]
    text = legible(question)
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"


def seen(scan: Scan, language: str) -> str:
    """What kind of picture of what this is, in a sentence."""
    words = _words()[language]
    return words["is"].format(
        modality=words["modality"].get(scan.modality, words["modality"]["unknown"]),
        part=words["part"].get(scan.location_category, words["part_unknown"]),
        plane=words["plane"].get(scan.plane, ""),
    )


def explained(texts: Sequence[str], language: str) -> list[tuple[str, str]]:
    """The hard words in texts, and what they mean."""
    text = " ".join(texts)
    entries = _words()["glossary"][language]
    return [(word, told) for pattern, word, told in entries if re.search(rf"\b({pattern})\b", text, re.IGNORECASE)]


def _picture(image: Image.Image, title: str, caption: str) -> dict[str, str]:
    return {"src": data_uri(image), "title": title, "caption": caption, "alt": f"{title}. {caption}".strip()}


@cache
def _commit() -> str:
    """Of the checkout that this code is in; a dash where it is in none."""
    asked = ["git", "-C", str(_HERE), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "–"


@cache
def _words() -> dict[str, Any]:
    return yaml.safe_load((_HERE / "words.yml").read_text(encoding="utf-8"))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html.j2")
