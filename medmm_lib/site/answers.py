"""The first page's answers to the report's questions: a sentence each, made from results, and how sure it is.

The verdict follows the numbers: it changes when a run brings others. All values are plain text, for `_variables.yml`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from medmm_lib import paths, results, sources

Metrics = dict[str, Any]
UNKNOWN = "Not measured yet"


@dataclass(frozen=True)
class Answer:
    """What the first page says to one question."""

    figure: str  # the number to remember
    caption: str  # what it is
    sentence: str
    sure: str  # its interval, or why it has none
    open: str  # what is not measured yet
    where: str = ""  # the run: kind, date, data, machine


def of(profile: str) -> dict[str, dict[str, str]]:
    """Every question's answer, from a result of record where one settles more than the latest run of `profile`.

    A question whose numbers no run has left is answered with the chapter that measures them.
    """
    return {key: asdict(_answer(profile, *asked)) for key, asked in QUESTIONS.items()}


def _answer(profile: str, chapter: str, records: list[str], say: Callable[[Metrics], Answer]) -> Answer:
    of_record = results.of_record(chapter) if chapter in paths.chapters() else {}
    for run in [*(of_record.get(name) for name in records), results.latest(profile, chapter)]:
        try:
            if run is not None:
                return Answer(**asdict(say(run["metrics"])) | {"where": _where(run, run in of_record.values())})
        except KeyError:  # a run from before this number was measured
            continue
    return Answer("–", results.NOT_MEASURED, f"{UNKNOWN}: run the chapter {chapter}.", "Nothing is known.", "", "")


def _where(run: dict[str, Any], record: bool) -> str:
    stale = "" if run["code_hash"] == sources.code_hash(run["chapter"]) else ", stale: made by older code"
    kind = "Result of record" if record else "Latest run"
    data = run["data"].get("name", "no data").replace("medpix", "real scans of MedPix 2.0")
    data = "generated scans" if data.startswith("phantom") else data
    return f"{kind} ({run['profile']}, {run['start'][:10]}{stale}), {data}, {run['device']['name']}."


def _useful(m: Metrics) -> Answer:
    control = _percent(m["closed_best_control"])
    right = _percent(m["closed_best_control"] + m["closed_lead"])  # of the model that was compared: the first seed's
    low, high = m["closed_lead_low"], m["closed_lead_high"]
    verdict = "Yes, for these questions" if low > 0 else "No" if high < 0 else "Not shown so far"
    compared = "more than" if low > 0 else "fewer than" if high < 0 else "no more than"
    return Answer(
        figure=f"{right} %",
        caption=f"of yes/no questions right; best control ({m['closed_best_control_name']}): {control} %",
        sentence=f"{verdict}: a tiny stand-in for PaliGemma, tuned in 4 bits, has {right} % of yes/no questions right, "
        f"{compared} the best control.",
        sure=f"The lead is {_points(m['closed_lead'])} points, 95 % interval {_points(low)} to {_points(high)}, on "
        f"the yes/no ones of {_number(m['test_questions'])} questions about {_number(m['test_patients'])} patients.",
        open=f"PaliGemma-3B itself, which takes {_number(m['notes_quantised_gib'])} GiB in 4 bits with an adapter.",
    )


def _unified(m: Metrics) -> Answer:
    leads = [value for name, value in m.items() if name.endswith("_lead_low")]
    ahead = sum(low > 0 for low in leads)
    verdict = "Yes, for these tasks" if ahead == len(leads) else "In part" if ahead else "No"
    return Answer(
        figure=f"{ahead} of {len(leads)}",
        caption="measures in which one model beats what can be had without the scan",
        sentence=f"{verdict}: one model of {_number(m['parameters'])} weights learned {m['modalities_learned']} of "
        f"{m['modalities_asked']} modalities at once, and from a scan alone it beats its controls in {ahead} of "
        f"{len(leads)} measures.",
        sure="A measure counts where the 95 % interval of the lead lies above zero, on "
        f"{_number(m['test_studies'])} scans of {_number(m['test_patients'])} patients.",
        open="A model of useful size, on real scans.",
    )


def _masking(m: Metrics) -> Answer:
    gpu = m["gpu_short_fused_batch_us"]
    return Answer(
        figure=f"{_number(m['short_compiled_ratio'])} ×",
        caption="as fast as masking one by one, on one CPU core",
        sentence=f"Masking a sample takes {_number(m['short_one_by_one_us'])} µs in Python and "
        f"{_number(m['short_compiled_us'])} µs compiled for a whole batch; a training step that embeds and attends by "
        f"it is {_number(m['step_256_ratio'])} times as fast with 256 tokens, {_number(m['step_2048_ratio'])} with "
        "2,048.",
        sure=f"Medians of one run; right after other work it is {_number(m['cold_compiled_ratio'])} times as fast, and "
        "timings on shared machines vary.",
        open="The fused version on a GPU." if isinstance(gpu, str) else "Inputs of more than 16,384 tokens.",
    )


def _scaling(m: Metrics) -> Answer:
    low, high, loss = m["largest_low"], m["largest_high"], m["largest_loss"]
    inside = low <= loss <= high
    return Answer(
        figure=f"{_number(low)} to {_number(high)}",
        caption=f"loss foretold for the largest model; it reached {_number(loss)}",
        sentence=f"{'Roughly' if inside else 'Not yet'}: a law of size and data from {m['cells']} trainings of tiny "
        f"models foretold a loss of {_number(m['largest_predicted'])} nats a token for the largest, which reached "
        f"{_number(loss)}.",
        sure=f"The measured loss lies {'inside' if inside else 'outside'} the 95 % interval; the trainings "
        f"{'tell' if m['identified'] else 'do not tell'} all parameters of the law.",
        open="Any law for real scans.",
    )


def _guarded(m: Metrics) -> Answer:
    through, refused = _percent(m["held_out_through"]), _percent(m["held_out_refused"])
    return Answer(
        figure=f"{through} %",
        caption=f"of harmful answers get through; {refused} % of harmless ones are refused",
        sentence=f"A policy, rules, a small classifier, the image's record and the model's own confidence keep all but "
        f"{through} % of harmful answers from a patient.",
        sure=f"95 % intervals: {_percent(m['held_out_through_low'])} to {_percent(m['held_out_through_high'])} % of "
        f"{_number(m['held_out_harmful'])} harmful answers, {_percent(m['held_out_refused_low'])} to "
        f"{_percent(m['held_out_refused_high'])} % of {_number(m['held_out_harmless'])} harmless ones.",
        open="Questions that patients asked.",
    )


def _take_home(m: Metrics) -> Answer:
    grade = _number(m["hardest_grade"])
    return Answer(
        figure=f"Grade {grade}",
        caption="is what the hardest report text asks of a reader",
        sentence="A page in English or Dutch with the scan, what is seen on it, a healthy example and the guarded "
        f"answers, in words of reading grade {grade} at most.",
        sure="The grade is a formula of word and sentence lengths, not a test with readers.",
        open="Whether patients understand it.",
    )


# Question → its chapter, the profiles whose record goes before the latest run, and what is said of the numbers.
QUESTIONS: dict[str, tuple[str, list[str], Callable[[Metrics], Answer]]] = {
    "useful": ("02_lora_finetuning", ["medpix"], _useful),
    "unified": ("03_fourm_pretraining", ["study"], _unified),
    "masking": ("04_masking_kernels", ["dsri"], _masking),
    "scaling": ("07_scaling_laws", ["study"], _scaling),
    "guarded": ("08_guard_and_report", [], _guarded),
    "take_home": ("08_guard_and_report", [], _take_home),
}


def _number(value: float) -> str:
    return results.number(value)


def _percent(share: float) -> str:
    return results.number(round(100 * share, 1))


def _points(share: float) -> str:
    """A difference of two shares, in percentage points."""
    return f"{100 * share:+.1f}".replace("-", "−")
