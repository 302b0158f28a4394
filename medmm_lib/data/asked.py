"""Questions with their images, as models are trained on them and asked."""

from collections.abc import Collection

from datasets import Dataset, concatenate_datasets

TYPES = (
    "modality",
    "sequence",
    "plane",
    "location_category",
    "caption",
    "diagnosis",
    "modality-closed",
    "plane-closed",
    "finding",
)  # what image questions ask about
COLUMNS = ["question", "answer", "question_id", "image_id", "patient_id", "form", "flags"]


def with_images(
    images: Dataset, questions: Dataset, *, side: int | None = None, without: Collection[str] = ()
) -> Dataset:
    """Image questions with the image that each is about: the columns of `questions`, `image`, and `type`.

    `images` has the schema of `medmm_lib.data.schema`, `questions` that of `medmm_lib.data.questions`; both are of one
    split. Literature questions are left out. `type` is what a question asks about, one of `TYPES`; questions of types
    in `without` are left out. With `side` images are made `side` × `side` pixels, in RGB, once instead of whenever they
    are read.

    Raises `ValueError` for a question on an image that `images` lacks, and for a type that there is not.
    """
    places = {name: place for place, name in enumerate(images["image_id"])}
    if missing := set(questions["image_id"]) - set(places) - {None}:
        raise ValueError(
            f"questions on {len(missing)} images that are not there, such as {min(missing)}: one split of both"
        )
    kinds = enumerate(zip(questions["kind"], questions["question_id"], questions["image_id"], strict=True))
    types = {place: _type(question, image) for place, (kind, question, image) in kinds if kind == "image"}
    if unknown := set(without) - set(TYPES):
        raise ValueError(f"no question has the type {', '.join(sorted(unknown))}; expected some of {', '.join(TYPES)}")
    about = [place for place, kind in types.items() if kind not in without]
    asked = questions.select(about).select_columns(COLUMNS).flatten_indices()
    pictures = images.select_columns("image")
    if side is not None:
        pictures = pictures.map(
            lambda row: {"image": row["image"].convert("RGB").resize((side, side))}, load_from_cache_file=False
        )
    chosen = pictures.select([places[name] for name in asked["image_id"]]).flatten_indices()
    return concatenate_datasets([chosen, asked.add_column("type", [types[place] for place in about])], axis=1)


def _type(question_id: str, image_id: str) -> str:
    name = question_id.removeprefix(f"{image_id}-")
    return "finding" if name.startswith("finding-") else name
