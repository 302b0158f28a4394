"""A base model so small that it trains in a second, and questions that it can learn: is a picture bright or dark?"""

from PIL import Image

from medmm_lib.vlm import embedded
from medmm_lib.vlm.collator import CAPTION, Collator
from medmm_lib.vlm.finetuning import Tuning
from medmm_lib.vlm.training import Schedule

SHAPE = embedded.EmbeddedShape(
    side=16, patch=8, vision_width=32, vision_layers=1, text_width=64, text_layers=2, heads=2, vocabulary=120
)
QUESTIONS = {"What do you see?": ("a bright image", "a dark image"), "Is this bright?": ("Yes", "No")}


def rows(count=24):
    made = []
    for k in range(count):
        question, answers = list(QUESTIONS.items())[k % 2]
        dark = k // 2 % 2
        image = Image.new("RGB", (16, 16), (10 + k, 20, 30) if dark else (200 + k, 220, 240))
        about = {"image_id": f"i{k}", "patient_id": f"p{k // 2}", "type": "brightness"}
        made.append({"image": image, "question": question, "answer": answers[dark], **about})
    return made


def processor():
    return embedded.make_processor(texts(), SHAPE)


def texts():
    asked = [text for question, answers in QUESTIONS.items() for text in (f"answer en {question}\n", *answers)]
    return [*asked, "caption en\n"] * 3


def base(folder, steps=60):
    """The folder of a base that has learned to say which pictures are bright."""
    captions = [row | {"question": CAPTION} for row in rows() if row["question"] == "What do you see?"]
    return embedded.pretrained(
        captions, processor(), folder, SHAPE, schedule(steps=steps, batch_size=8, learning_rate=1e-2), key="test"
    )


def schedule(**changes):
    return Schedule(**{"steps": 6, "batch_size": 4, "learning_rate": 5e-3, "context": 24, "seed": 0} | changes)


def tuning(precision="4-bit", **changes):
    times = {name: changes.pop(name) for name in list(changes) if name in Schedule.__dataclass_fields__}
    return Tuning(schedule(**times), precision, **changes)


def collator():
    return Collator(processor(), context=24)
