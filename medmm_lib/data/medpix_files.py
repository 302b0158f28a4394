"""The JSON files of MedPix 2.0's layout: their records, strictly typed, and the reading of damaged files."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from medmm_lib.data import medpix_vocabulary as vocabulary
from medmm_lib.data.loaded import DataError
from medmm_lib.data.schema import CHEXPERT_LABELS


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class CaseTexts(_Strict):
    """The object `Case`. Every text may be absent: the data has many different sets of keys."""

    title: str | None = Field(None, alias="Title")
    history: str | None = Field(None, alias="History")
    exam: str | None = Field(None, alias="Exam")
    findings: str | None = Field(None, alias="Findings")
    differential: str | None = Field(None, alias="Differential Diagnosis")
    diagnosis: str | None = Field(None, alias="Case Diagnosis")
    diagnosis_by: str | None = Field(None, alias="Diagnosis By")
    treatment: str | None = Field(None, alias="Treatment & Follow Up")
    discussion: str | None = Field(None, alias="Discussion")
    media: str | None = Field(None, alias="Media")


class TopicTexts(_Strict):
    """The object `Topic`: literature on the case's disease."""

    title: str | None = Field(None, alias="Title")
    text: str | None = Field(None, alias="Disease Discussion")
    acr_code: str | None = Field(None, alias="ACR Code")
    category: str | None = Field(None, alias="Category")
    keywords: str | None = Field(None, alias="Keywords")
    reference: str | None = Field(None, alias="Reference")
    external_links: str | None = Field(None, alias="External Links")


class CaseRecord(_Strict):
    """A record of `Case_topic.json`: a patient's case. `TAC` is CT (tomografia assiale computerizzata)."""

    uid: str = Field(alias="U_id")
    ct: list[str] = Field([], alias="TAC")
    mr: list[str] = Field([], alias="MRI")
    xr: list[str] = Field([], alias="XR")
    case: CaseTexts = Field(alias="Case")
    topic: TopicTexts = Field(alias="Topic")


class Description(_Strict):
    """The object `Description` of an image."""

    acr_codes: str | None = Field(None, alias="ACR Codes")
    age: str | None = Field(None, alias="Age")
    caption: str | None = Field(None, alias="Caption")
    figure_part: str | None = Field(None, alias="Figure Part")
    modality: str | None = Field(None, alias="Modality")
    plane: str | None = Field(None, alias="Plane")
    sex: str | None = Field(None, alias="Sex")

    @field_validator("age")
    @classmethod
    def _years(cls, text: str | None) -> str | None:
        if (
            text
            and not vocabulary.is_placeholder(text)
            and not re.fullmatch(r"(1[01]|[0-9])?[0-9]", text.strip(), re.A)
        ):
            raise ValueError(f"{text!r} is no age in whole years from 0 to 119")
        return text

    @field_validator("sex")
    @classmethod
    def _female_or_male(cls, text: str | None) -> str | None:
        if text and not vocabulary.is_placeholder(text) and text.strip() not in ("female", "male"):
            raise ValueError(f"{text!r} is neither female nor male nor a placeholder")
        return text


class ImageRecord(_Strict):
    """A record of `Descriptions.json`: an image."""

    type: str = Field(alias="Type", pattern="^(CT|MR|XR|US)$")
    uid: str = Field(alias="U_id")
    image: str = Field(alias="image", pattern=r"^[\w.-]+$")
    description: Description = Field(alias="Description")
    location: str | None = Field(None, alias="Location")
    location_category: str | None = Field(None, alias="Location Category")


class Box(_Strict):
    """A box of `boxes.json`: x0, y0, x1, y1 in 0 to 1, and what it encloses."""

    box: list[float] = Field(min_length=4, max_length=4)
    name: str

    @field_validator("box")
    @classmethod
    def _inside(cls, box: list[float]) -> list[float]:
        if not (0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1):
            raise ValueError(f"{box} is no box x0, y0, x1, y1 in 0 to 1")
        return box


def check_extras(boxes: object, labels: object) -> str:
    """What is wrong with an image's entries in `boxes.json` and `labels.json` (None: it has none); empty: nothing."""
    try:
        TypeAdapter(list[Box] | None).validate_python(boxes, strict=True)
        TypeAdapter(dict[str, int] | None).validate_python(labels, strict=True)
    except ValidationError as error:
        return f"boxes.json or labels.json: {_problems(error)}"
    for name, value in (labels or {}).items():
        if name not in CHEXPERT_LABELS or value not in (-1, 0, 1):
            return f"labels.json: {name!r} is {value!r}; expected CheXpert's labels with 1, 0 or -1"
    return ""


def read_splits(path: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """The official split: lists of cases by name. Raises `DataError` for a missing file or another content."""
    try:
        lists = TypeAdapter(dict[str, list[str]]).validate_python(read_json(path), strict=True)
    except ValidationError as error:
        raise DataError(f"{path}: expected an object with lists of cases: {_problems(error)}") from error
    if missing := set(names) - set(lists):
        raise DataError(f"{path} has no list {', '.join(sorted(missing))}")
    return lists


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())


_DAMAGED = re.compile("[\ud800-\udfff]")  # what surrogateescape makes of a byte that is not UTF-8
Record = TypeVar("Record", CaseRecord, ImageRecord)


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON can be anything
    """The content of a JSON file, or None when there is no such file. Raises `DataError` when it is broken."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: this is not JSON: {error}") from error


def read_records(path: Path, model: type[Record], name_key: str) -> Iterator[tuple[str, Record | None, str]]:
    """The records of a file: (what it is called, the record or None, why there is none).

    Raises `DataError` when the file is missing or holds no list.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: a MedPix 2.0 folder holds Case_topic, Descriptions and uid_list.json")
    for place, value, problem in _objects(path):
        if problem or not isinstance(value, dict):
            yield place, None, problem or f"expected an object, found {type(value).__name__}"
            continue
        name = str(value.get(name_key, place)).encode("utf-8", "replace").decode()
        if _DAMAGED.search(json.dumps(value, ensure_ascii=False)):
            yield name, None, "holds bytes that are not UTF-8"
            continue
        try:
            yield name, model.model_validate(value), ""
        except ValidationError as error:
            yield name, None, _problems(error)


def _objects(path: Path) -> Iterator[tuple[str, Any, str]]:
    """The items of a JSON list: (where it stands, the item, what is wrong with it or an empty string).

    A damaged file is read item by item: after a broken one, reading goes on at the next line that begins, indented like
    the first item, with a brace.
    """
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    start = re.match(r"\s*\[(\s*)", text)
    if start is None:
        raise DataError(f"{path}: expected a JSON list of records")
    try:
        for number, value in enumerate(json.loads(text), 1):
            yield f"record {number}", value, ""
        return
    except RecursionError as error:
        raise DataError(f"{path}: its objects are nested too deeply to be records") from error
    except ValueError as error:
        if "\n" not in start.group(1):
            raise DataError(f"{path}: this is not JSON: {error}") from error
    decoder = json.JSONDecoder()
    item = re.compile(r"^" + re.escape(start.group(1).rsplit("\n", 1)[1]) + r"\{", re.MULTILINE)
    found, end = item.search(text), 0
    while found:
        line = f"line {text.count(chr(10), 0, found.start()) + 1}"
        if text[end : found.start()].strip(" \n\r\t,[") and end:
            yield f"after line {text.count(chr(10), 0, end) + 1}", None, "text that is no record"
        try:
            value, end = decoder.raw_decode(text, found.end() - 1)
            yield line, value, ""
        except ValueError as error:
            yield line, None, f"this is not JSON: {error}"
            found = item.search(text, found.end())
            end = found.start() if found else len(text)
            continue
        found = item.search(text, end)
    if text[end:].strip(" \n\r\t,]"):
        yield f"after line {text.count(chr(10), 0, end) + 1}", None, "text that is no record"
