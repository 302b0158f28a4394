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
#     reads:
#     - 03_fourm_pretraining
#     runs: []
#     trains: true
# ---

# %% [markdown]
# # What a better model costs
#
# **Question.** How large a model, and how much data, does a wanted loss need? How sure is that answer? The internship's notes read the lowest loss that their model
# could ever reach off one training curve. Can one?

# %% tags=["parameters"]
#| code-summary: "Parameters and their defaults"
profile: str = "quick"  # which parameter file this run belongs to; chapter 03 must have run under it
data_root: str = ""  # folder of medpix; empty: MEDMM_DATA
notes_curve: str = ""  # the notes' training curve, a CSV in the folder that MEDMM_DATA names; empty: the result of record shows it
resamples: int = 100  # of the bootstrap of a curve
simulations: int = 20  # sweeps with known truth, whose intervals are checked
draws: int = 80  # of the bootstrap of the sweep
widths: list[int] = [32, 64, 128]  # of the models of the sweep
budgets: list[int] = [8, 16, 32, 64]  # training steps of each
shares: list[float] = [1.0]  # of the training studies that they see
seeds: list[int] = [0]  # each cell is trained once with each
views: int = 2  # of each training study
mixture: list[str] = ["0.8: patches -> any", "0.2: any -> any"]  # share: given -> asked for
inputs: int = 64  # tokens given
targets: int = 96  # tokens asked for
batch_size: int = 16  # studies a step
learning_rate: float = 3.0e-3  # of embeddings; matrices take three times as much
gpu: str = "H100 SXM 80 GB"  # that plans begin with
mfu: float = 0.35  # share of its peak that a training is assumed to reach
euros_per_hour: float = 3.0  # assumed price of a GPU
bases: list[str] = ["google/paligemma-3b-mix-224", "google/paligemma2-10b-mix-448"]  # that a clinic fine-tunes
question_tokens: int = 40  # of a question and its answer
questions: int = 10000  # that a clinic fine-tunes on
epochs: int = 3  # times each is seen
times: int = 4  # fine-tunings a year
seed: int = 0  # of first weights, masks, views and bootstraps

# %%
#| code-summary: "Check the parameters"
from medmm_lib.parameters import read

parameters = read(globals())

# %% [markdown]
# ## Prerequisites
#
# [Chapter 03](03_fourm_pretraining.ipynb) under the same profile: its text tokeniser and its data are used. The notes' training curve is a CSV that
# TensorBoard exported; where it is not at hand, the page shows what the result of record made of it.

# %%
#| code-summary: "Imports"
import html
import os
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import HTML, Markdown, display

import medmm_lib.data
from medmm_lib import device, paths, plots, results
from medmm_lib.evaluation.intervals import Estimate
from medmm_lib.fourm.experiment import Setup
from medmm_lib.fourm.kept import kept_studies
from medmm_lib.fourm.shape import sized
from medmm_lib.scaling import curves, explore, fit_parametric, fit_power_law, simulation
from medmm_lib.scaling.compute import PF_DAY, encoder_decoder_flops, gpus, layer_weights, lora_flops_per_token
from medmm_lib.scaling.explore import Desk, short
from medmm_lib.scaling.forms import power_law
from medmm_lib.scaling.law import effective_tokens
from medmm_lib.scaling.parametric import REPEATS, as_law
from medmm_lib.scaling.planner import GPU_DAYS_A_MONTH, FineTuning
from medmm_lib.scaling.power_law import naive_fit
from medmm_lib.scaling.sweep import grid, sweep
from medmm_lib.sortable import sortable
from medmm_lib.vlm import memory
from medmm_lib.vlm.bases import configuration
from medmm_lib.vlm.step_memory import START, step_memory

CHAPTER = "07_scaling_laws"
FOLDER = paths.artifacts(profile, CHAPTER)
earlier = results.latest(profile, "03_fourm_pretraining")
if earlier is None:
    raise FileNotFoundError(f"chapter 03 has left nothing under {profile}. Run `medmm run --profile {profile} --only 03_fourm_pretraining`")
used = earlier["parameters"]
if gpu not in gpus():
    raise ValueError(f"gpu is {gpu!r}; expected one of {', '.join(gpus())}")
parts = medmm_lib.data.load(used["data"][0], data_root or None)
record = results.RunRecord(CHAPTER, parameters, data={"name": used["data"][0], "fingerprint": medmm_lib.data.fingerprint(used["data"][0], data_root or None)})


# %%
#| code-summary: "Helpers for prose and tables"
def with_ends(one, digits=2):
    """An estimate with its interval."""
    return f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"


def cells(frame):
    """A table as a result keeps it."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def fitted(name, curve):
    """Fit a training curve and keep what the page shows of it."""
    fit = fit_power_law(curve.steps, curve.losses, resamples=resamples, seed=seed)
    naive, errors = naive_fit(curve.steps, curve.losses)
    for letter, value, error in zip("abc", naive, errors, strict=True):
        record.metrics |= {f"{name}_naive_{letter}": float(value), f"{name}_naive_{letter}_error": float(error)}
        one = fit.intervals[letter]
        record.metrics |= {f"{name}_{letter}": one.value, f"{name}_{letter}_low": one.low, f"{name}_{letter}_high": one.high}
    record.metrics |= {f"{name}_points": len(curve.steps), f"{name}_identified": fit.asymptote_identified, f"{name}_reason": fit.reason, f"{name}_block": fit.block}
    ends = [int((curve.steps <= share * curve.steps[-1]).sum()) for share in (0.25, 0.5, 0.75)]
    early = [naive_fit(curve.steps[:end], curve.losses[:end])[0] for end in ends]
    record.curves |= {
        f"{name}_bins": [{"step": float(step), "loss": float(loss)} for step, loss in zip(fit.bins.steps, fit.bins.losses, strict=True)],
        f"{name}_prefixes": cells(fit.prefixes), f"{name}_forms": cells(fit.comparison),
        f"{name}_naive": [dict(zip("abc", map(float, one), strict=True)) | {"share": share} for share, one in zip((0.25, 0.5, 0.75), early, strict=True)],
    }


# %%
#| code-summary: "Fit the notes' curve, and one whose truth is known"
if notes_curve:
    root = data_root or os.environ.get("MEDMM_DATA")
    if not root:
        raise FileNotFoundError(f"notes_curve is {notes_curve!r}, a file in the folder that MEDMM_DATA names, and MEDMM_DATA is not set; set it, or leave notes_curve empty")
    fitted("notes", curves.read(Path(root).expanduser() / notes_curve))
fitted("known", curves.Curve(*simulation.curve(seed)))
shown_by = {"this run": {"metrics": record.metrics, "curves": record.curves}} if notes_curve else {
    f"of record ({name}, {one['start'][:10]})": one for name, one in results.of_record(CHAPTER).items() if "notes_c" in one["metrics"]
}
told_by, notes = next(iter(shown_by.items()), ("", None))

# %%
#| code-summary: "Check intervals on sweeps with known truth"
covered = simulation.coverage(simulations)
record.metrics |= {f"coverage_{name.replace(' ', '_')}": share for name, share in covered.items()} | {"simulations": simulations}

# %%
#| code-summary: "Train the sweep"
setup = Setup(
    size="tiny", mixture=tuple(mixture), inputs=(inputs, inputs), targets=(targets, targets), steps=1, batch_size=batch_size,
    learning_rate=learning_rate, seed=seed, shape={"embeddings": "per modality"},
)
runs = []
for share in shares:
    some = parts["train"].select(range(round(len(parts["train"]) * share)))
    studies = kept_studies(
        paths.artifacts(profile, "03_fourm_pretraining"), {**parts, "train": some}, FOLDER / "tokens",
        fingerprint=f"{record.data['fingerprint']} {share}", side=used["side"], patch=used["patch"], count=views, seed=seed,
    )
    runs.append(sweep(grid(setup, widths, budgets, seeds), studies, FOLDER / f"sweep {share:g}", views=views).assign(share=share))
runs = pd.concat(runs, ignore_index=True)
record.curves["sweep"] = cells(runs.drop(columns=["key", "curve"]))
largest = runs["flops"].idxmax()

# %%
#| code-summary: "Fit the sweep without its largest run, and predict that one"
largest_run = runs.loc[largest]
others = runs[(runs["width"] != largest_run["width"]) | (runs["steps"] != largest_run["steps"])]  # nor any other run of that size and length
repeated = len(shares) > 1
fit, whole = (fit_parametric(some["parameters"], some["tokens"], some["loss"], unique=some["unique"] if repeated else None) for some in (others, runs))
drawn, whole_draws = (one.bootstrap(draws, seed) for one in (fit, whole))
# In other draws, more weights or more data would do harm, or a term is beyond what numbers hold.
drawn, whole_draws = (each[(each[:, 3:5] > 0).all(axis=1) & (each[:, :3] < 700).all(axis=1)] for each in (drawn, whole_draws))
if not len(drawn) or not len(whole_draws):
    raise ValueError("in every bootstrap sample of the sweep, more weights or more data do harm: no law can be read off these losses; train longer, or more sizes")
unique_of_run = float(largest_run["unique"]) if repeated else np.inf
told = fit.foretell(drawn, largest_run["parameters"], largest_run["tokens"], unique_of_run, seed)
predicted, low, high = told.value, told.low, told.high
flops_per = float(largest_run["flops"] / largest_run["parameters"] / largest_run["tokens"])
record.metrics |= {
    "cells": len(runs), "identified": whole.identified, "reasons": "; ".join(whole.reasons), "largest_loss": float(largest_run["loss"]), "largest_predicted": predicted,
    "largest_low": float(low), "largest_high": float(high), "largest_flops": float(largest_run["flops"]), "largest_parameters": int(largest_run["parameters"]), "flops_per": flops_per,
    "improper_percent": 100 * (1 - len(whole_draws) / draws), "sweep_seconds": float(runs["seconds"].sum()), "mfu_percent": 100 * float(largest_run["mfu"]),
    "matmul_gflops": float(largest_run["peak"]) / 1e9, "lowest_loss": float(runs["loss"].min()), "highest_loss": float(runs["loss"].max()), "unique_tokens": int(runs["unique"].max()),
}
for name, one in whole.intervals.items():
    key = name.replace(" ", "_")
    record.metrics |= {f"{key}{end}": value for end, value in (("", one.value), ("_low", one.low), ("_high", one.high)) if np.isfinite(value)}  # where none is kept, an end is infinite
record.curves["draws"] = [list(map(float, one)) for one in whole_draws[:200]]

# %%
#| echo: false
ends = record.metrics
notes_line = "the notes' curve is not at hand in this run, and no result of record shows it" if notes is None else f"""the notes' fit gives {notes['metrics']['notes_naive_c']:.2f} nats as the loss that can't be beaten; the first quarter of the same curve gives {notes['curves']['notes_naive'][0]['c']:.2f} by the same method. {"The curve does not tell it" if not notes['metrics']['notes_identified'] else "The curve does tell it"} ({told_by})"""
inside = low <= largest_run["loss"] <= high
plots.box(f"""
- One training curve: {notes_line}.
- {len(runs)} trainings of 4M, {len(set(runs['parameters']))} sizes from {short(runs['parameters'].min())} to {short(runs['parameters'].max())} weights in layers: {"they tell" if whole.identified else "too few, or too alike, to tell"} all
  parameters of the law. From the others, the law predicts the largest run's loss as {predicted:.2f} [{low:.2f}, {high:.2f}]; it was {largest_run['loss']:.2f}, {"inside" if inside else "outside"} the interval.
- On {simulations} simulated sweeps of 240 models with 1 % of noise, 95 % intervals of the parameters hold the truth in {min(covered.values()):.0%} to {max(covered.values()):.0%}. This sweep has {len(runs)}.
- Peak is not what a training reaches: the largest one here reached {ends['mfu_percent']:.0f} % of what the same machine does in a large matrix product.
""", "callout-tip", title="Takeaway")

# %% [markdown]
# ## One curve: what the notes did
#
# The notes fitted $L(t) = a\,t^{-b} + c$ to the loss of one fine-tuning over its steps $t$ and read $c$ as the *theoretical* loss, below which no training could go. They
# suspected a mistake. The fit itself was right. What was wrong is the reading: $c$ is far outside of what the curve shows, so it follows from the form that was assumed, and from how long one trained.

# %%
#| echo: false
if notes is None:
    shown = "The notes' curve is not at hand here."
else:
    metrics, by_share = notes["metrics"], notes["curves"]["notes_naive"]
    early = "; ".join(f"{one['share']:.0%} of the steps give c = {one['c']:.2f}" for one in by_share)
    shown = f"""Plain least squares over all {metrics['notes_points']:,} points gives, as in the notes, a = {metrics['notes_naive_a']:.4g}, b = {metrics['notes_naive_b']:.4g} and c = {metrics['notes_naive_c']:.4g}, with a standard error
of {metrics['notes_naive_c_error']:.2g} for c ({told_by}). But the first {early}. An asymptote would not move as the training goes on."""
Markdown(shown)

# %%
#| label: fig-notes
#| fig-cap: "The notes' training curve in bins that are even in the logarithm of the steps, and the same form fitted by plain least squares to its beginnings."
#| fig-alt: "A falling loss curve with three fits to its first quarter, half and three quarters. Each goes on below or above where the curve then goes."
if notes is None:
    display(Markdown("Nothing to draw."))
else:
    bins = pd.DataFrame(notes["curves"]["notes_bins"])
    figure = go.Figure(go.Scatter(x=bins["step"], y=bins["loss"], mode="markers", name="loss"))
    steps = np.geomspace(bins["step"].min(), 10 * bins["step"].max(), 120)
    whole_naive = {letter: notes["metrics"][f"notes_naive_{letter}"] for letter in "abc"} | {"share": 1.0}
    for one, dash in zip([*notes["curves"]["notes_naive"], whole_naive], ("dot", "dashdot", "dash", "solid"), strict=True):
        figure.add_scatter(x=steps, y=power_law(steps, one["a"], one["b"], one["c"]), mode="lines", line={"dash": dash}, name=f"fit to {one['share']:.0%}")
    figure.update_layout(xaxis={"title": "step", "type": "log"}, yaxis={"title": "loss, nats a token", "range": [2, float(bins["loss"].max()) + 1]})
    plots.show(figure, alt=f"A loss that falls from {bins['loss'].max():.0f} to {bins['loss'].min():.0f} nats over {bins['step'].max():,.0f} steps, and four fits of the same form. Beyond the last step they spread.")

# %% [markdown]
# ## What can be said from one curve
#
# `fit_power_law` averages the losses in bins that are even in $\log t$, so that every doubling counts the same; it uses Huber's loss, bounds and several starts. Its intervals come from a
# bootstrap of blocks [@kunsch1989], because losses of neighbouring steps are alike. The asymptote counts as *identified* only when the interval of $c$ stays away from 0, the beginnings of the curve give the
# same $c$ as the whole as far as noise allows, and no other form does as well on steps that were left out, nor the trivial guess that the loss stays as it is.

# %%
#| label: tbl-curves
#| tbl-cap: "The asymptote c of two curves with 95 % intervals: the notes', and one that was made from a power law with c = 2."
rows = []
for name, title, metrics in [*([("notes", "the notes' curve", notes["metrics"])] if notes else []), ("known", "a power law with c = 2", record.metrics)]:
    one = Estimate(*(metrics[f"{name}_c{end}"] for end in ("", "_low", "_high")))
    rows.append({"curve": title, "naive fit": f"{metrics[f'{name}_naive_c']:.2f} ± {1.96 * metrics[f'{name}_naive_c_error']:.2f}", "robust fit": with_ends(one), "identified": "yes" if metrics[f"{name}_identified"] else "no", "because": metrics[f"{name}_reason"]})
plots.table(pd.DataFrame(rows))

# %%
#| label: tbl-prefixes
#| tbl-cap: "The robust fit to the beginning of each curve: its c, how far that is from the whole curve's, and how far noise alone would take it (98 % of bootstrap samples)."
rows = []
for title, kept, name in [*([("the notes' curve", notes["curves"], "notes")] if notes else []), ("a power law with c = 2", record.curves, "known")]:
    for one in kept[f"{name}_prefixes"]:
        rows.append({"curve": title, "of the steps": f"{one['share']:.0%}", "c": f"{one['c']:.2f}", "from the whole": f"{one['drift']:+.2f}", "by noise alone": f"{one['low']:+.2f} to {one['high']:+.2f}"})
plots.table(pd.DataFrame(rows))

# %%
#| label: tbl-forms
#| tbl-cap: "Forms beside each other: root mean square error in nats on stretches of the curve that were left out, and on the second half of the steps, when only the first was fitted."
rows = []
for title, kept, name in [*([("the notes' curve", notes["curves"], "notes")] if notes else []), ("a power law with c = 2", record.curves, "known")]:
    for one in kept[f"{name}_forms"]:
        rows.append({"curve": title, "form": one["form"], "left out": "" if one["left_out"] is None else f"{one['left_out']:.3f}", "second half": f"{one['second_half']:.3f}"})
plots.table(pd.DataFrame(rows))

# %% [markdown]
# ## Many models: a law of size and data
#
# A law for planning must say what *another* model would reach. Hoffmann et al. [-@hoffmann2022] train models of many sizes $N$ on many amounts of tokens $D$ and fit
#
# $$L(N, D) = E + \frac{A}{N^{\alpha}} + \frac{B}{D^{\beta}}$$
#
# $E$ is what no model avoids, the other terms are what a model too small and data too few cost. Their own fit was stopped too early, and its intervals were too narrow [@besiroglu2024]. `fit_parametric`
# follows the corrected recipe: Huber's loss of the logarithm, by log-sum-exp, a scaled objective with its analytic gradient, a grid of starts. Its standard errors allow for noise that differs between points.

# %%
#| label: tbl-coverage
#| tbl-cap: "The share of simulated sweeps, 240 models each with about 1 % of noise, in which the 95 % interval holds the true value."
plots.table(pd.DataFrame([{"parameter": name, "covered": f"{share:.1%}", "simulations": simulations} for name, share in covered.items()]))

# %% [markdown]
# ## Our own sweep
#
# The same 4M as in chapter 03, on its texts and patches alone, in several widths and for several numbers of steps. Each cell is a training of its own, down to the end of its learning rate: a short training is
# not the beginning of a long one. $N$ counts the weights of layers, $D$ the tokens that were given and asked for.

# %%
#| label: tbl-sweep
#| tbl-cap: "The cells of the sweep: weights in layers, tokens, how often each token was seen, FLOPs as PyTorch counts them, and the held-out loss."
plots.table(pd.DataFrame([
    {"weights": f"{row.parameters:,}", "tokens": short(row.tokens), "times seen": f"{row.tokens / row.unique:.1f}", "FLOPs": f"{row.flops:.2g}", "loss, nats": f"{row.loss:.3f}", "the law": f"{float(whole.predict(row.parameters, row.tokens, row.unique if repeated else np.inf)):.3f}"}
    for row in runs.itertuples()
]))

# %%
#| label: fig-sweep
#| fig-cap: "Held-out loss by compute, a line a size; the open circle is the largest run, and the bar what the others predict for it."
#| fig-alt: "Lines of loss over FLOPs for each model size, falling. The largest run is drawn beside its prediction."
figure = go.Figure()
for k, (size, group) in enumerate(runs[runs["share"] == max(shares)].groupby("parameters")):
    group = group.groupby("steps", as_index=False)[["flops", "loss"]].mean()
    figure.add_scatter(x=group["flops"], y=group["loss"], mode="lines+markers", name=f"{short(size)} weights", line={"color": plots.PALETTE[k % len(plots.PALETTE)]})
figure.add_scatter(x=[largest_run["flops"]], y=[predicted], mode="markers", marker={"symbol": "circle-open", "size": 12, "color": plots.TEXT}, name="predicted", error_y={"type": "data", "symmetric": False, "array": [high - predicted], "arrayminus": [predicted - low]})
figure.update_layout(xaxis={"title": "FLOPs", "type": "log"}, yaxis={"title": "held-out loss, nats a token"})
plots.show(figure, alt=f"Held-out loss of {len(runs)} trainings over their FLOPs. The largest ends at {largest_run['loss']:.2f} nats; {predicted:.2f} was predicted.")

# %%
#| label: tbl-law
#| tbl-cap: "The parameters of the law with 95 % intervals, in this run and in results of record."
columns = {}
for title, one in results.with_records(record).items():
    if "alpha" in one["metrics"]:
        made = {name: Estimate(*(one["metrics"].get(f"{key}{end}", limit) for end, limit in (("", np.nan), ("_low", -np.inf), ("_high", np.inf)))) for name, key in (("E", "E"), ("log A", "log_A"), ("log B", "log_B"), ("α", "alpha"), ("β", "beta"))}
        columns[title] = {"cells": str(one["metrics"]["cells"])} | {name: with_ends(value) for name, value in made.items()} | {"identified": "yes" if one["metrics"]["identified"] else "no"}
plots.table(pd.DataFrame(columns).rename_axis("parameter").reset_index())

# %%
#| echo: false
doubts = "" if whole.identified else f" Here they do not: {'; '.join(whole.reasons)}."
Markdown(f"The page calls a law *identified* when the points tell all of its parameters.{doubts} In {record.metrics['improper_percent']:.0f} % of bootstrap samples, size or data would do harm, or nothing can be told; plans leave these out.")

# %% [markdown]
# ## Data seen again
#
# MedPix 2.0 has 2,050 images [@siragusa2024]. A model sees each many times, and the tenth time teaches less than the first. Muennighoff et al. [-@muennighoff2023] found that tokens seen again are worth
# $U + U R^* (1 - e^{-(D/U - 1)/R^*})$ new ones, with $U$ different tokens and $R^* \approx 15$ for text on the web. `fit_parametric` fits $R^*$ when the sweep has cells with less data. They also count weights less that go beyond what the different tokens would ask for; that
# part is left out here. So with little data, the planner below asks for larger models, and fewer epochs, than they recommend.

# %%
#| label: fig-repeats
#| fig-cap: "What tokens that are seen again are worth, by how often each is seen."
#| fig-alt: "Curves of worth in times the data over epochs: all lie below the diagonal and level off."
seen = np.geomspace(1, 1000, 80)
figure = go.Figure(go.Scatter(x=seen, y=seen, mode="lines", line={"dash": "dot", "color": plots.TEXT}, name="all new"))
curves_of = {f"R* = {REPEATS:g} (text)": REPEATS} | ({f"R* = {whole.repeats:.3g} (this sweep)": whole.repeats} if repeated else {})
for name, value in curves_of.items():
    figure.add_scatter(x=seen, y=effective_tokens(seen, 1.0, value), mode="lines", name=name)
figure.update_layout(xaxis={"title": "times each token is seen", "type": "log"}, yaxis={"title": "worth, times the data", "type": "log"})
plots.show(figure, alt=f"Worth of repeated data over epochs. At R* = {REPEATS:g}, four epochs are worth {effective_tokens(4.0, 1.0, REPEATS):.1f} times the data, a hundred {effective_tokens(100.0, 1.0, REPEATS):.1f} times.")

# %% [markdown]
# ## Compute
#
# A training costs about $6ND$ floating-point operations (FLOPs) where every token passes every weight [@kaplan2020]. Two cases differ:
#
# - **4M**: a token passes the encoder or the decoder, not both, and what is given is looked at by the decoder. `encoder_decoder_flops` counts it from the masking budgets; a test compares it with PyTorch's count.
# - **LoRA**: frozen weights need no gradients of their own, but gradients must pass through them. They cost 4 operations a token instead of 6, so LoRA saves memory far more than time.
#
# A *PF-day* is $10^{15}$ operations a second for one day, $8.64 \cdot 10^{19}$ in all.

# %%
#| label: tbl-flops
#| tbl-cap: "FLOPs a token and weight of layers: 6 is the rule of thumb."
large = sized(studies.spaces, "base")
vocabulary = max(space.vocabulary_size for space in studies.spaces.values() if space.kind == "sequence")
plots.table(pd.DataFrame([
    {"training": "rule of thumb", "FLOPs a token and weight": "6"},
    {"training": "this sweep, as counted (the smaller a model, the more its output layer counts)", "FLOPs a token and weight": f"{(runs['flops'] / runs['parameters'] / runs['tokens']).min():.2f} to {(runs['flops'] / runs['parameters'] / runs['tokens']).max():.2f}"},
    {"training": "4M at 4M's own size B, the same budgets, by encoder_decoder_flops", "FLOPs a token and weight": f"{encoder_decoder_flops(large, inputs, targets, vocabulary) / (inputs + targets) / layer_weights(large):.2f}"},
    {"training": "LoRA, adapter of 0.4 % of the weights", "FLOPs a token and weight": f"{lora_flops_per_token(1.0, 0.004):.2f}"},
    {"training": "the same, activations computed twice", "FLOPs a token and weight": f"{lora_flops_per_token(1.0, 0.004, checkpointing=True):.2f}"},
]))

# %%
#| label: tbl-dgx
#| tbl-cap: "PF-days a day: the notes' arithmetic for a DGX-1, and what its parts are. The last two rows assume this chapter's share of the peak (MFU)."
v100 = gpus()["V100 SXM2 32 GB"]
rows = [
    ("the notes: eight V100, fp32, all of the peak", 8 * v100.peak["fp32"]),
    ("one V100, as the notes used, fp32, all of the peak", v100.peak["fp32"]),
    ("one V100, tensor cores (fp16), all of the peak", v100.peak["fp16"]),
    (f"one V100, tensor cores, {mfu:.0%} of the peak", mfu * v100.peak["fp16"]),
    (f"one {gpu}, {mfu:.0%} of the peak", mfu * gpus()[gpu].fastest[1]),
]
plots.table(pd.DataFrame([{"": name, "PF-days a day": f"{speed * 86_400 / PF_DAY:.4f}"} for name, speed in rows]))

# %%
#| label: tbl-gpus
#| tbl-cap: "GPUs as their maker describes them: memory, and peak TFLOP/s of matrix products without sparsity. Click on a column's name to sort."
sortable(pd.DataFrame([
    {"GPU": HTML(f'<a href="{one.source}" title="{html.escape(one.note)}">{one.name}</a>'), "memory, GB": f"{one.memory_gb:g}"} | {name: f"{one.peak[name] / 1e12:g}" if name in one.peak else "none" for name in ("fp32", "fp16", "bf16")}
    for one in gpus().values()
]), {"GPU": list(gpus())})

# %%
#| echo: false
Markdown(f"What was measured: the largest cell of the sweep reached {record.metrics['mfu_percent']:.1f} % of the {record.metrics['matmul_gflops']:.0f} GFLOP/s that this machine ({device.describe()['name']}) does in a product of two large matrices. Small models do not fill a machine. The {mfu:.0%} that plans begin with is an assumption, and no GPU has been measured yet.")

# %% [markdown]
# ## Planner
#
# From a wanted loss, hours or euros to a model, its data and its bill. The interval is what the bootstrap of the law gives; it knows nothing of a law that does not hold at sizes nobody trained.

# %%
#| echo: false
known = {name: one for name, one in results.of_record(CHAPTER).items() if one["metrics"].get("identified") and one["curves"].get("draws")}
origin, source = next(iter(known.items()), (profile, {"metrics": record.metrics, "curves": record.curves}))
names = ("log_A", "log_B", "log_E", "alpha", "beta", "log_R")
theta = np.array([source["metrics"][name] for name in names if name in source["metrics"]])
kept = np.array(source["curves"]["draws"])
if len(theta) == 5:  # the sweep had no cells with less data: R* as published for text
    theta, kept = np.append(theta, np.log(REPEATS)), np.column_stack([kept, np.full(len(kept), np.log(REPEATS))])
chosen = gpus()[gpu]
desk = Desk(
    as_law(theta), as_law(kept), source["metrics"]["flops_per"], float(source["metrics"]["unique_tokens"]), (round(float(np.exp(theta[2])) + 0.05, 2), round(source["metrics"]["highest_loss"], 1)),
    source["metrics"]["largest_flops"], (chosen, *(one for one in gpus().values() if one.name != gpu)), mfu, euros_per_hour,
)
whose = f"the result of record ({origin}, {source['data']['name']})" if known else f"this run ({record.data['name']})"
Markdown(f"The law is that of {whose}: a tiny 4M on texts and patches. {'' if known or whole.identified else 'Its points do not tell all parameters, so every number below is an example. '}It says nothing of other models or other data. A training is taken to cost {desk.flops_per:.2f} FLOPs a token and weight, as the largest one of the sweep did.")

# %%
explore.page(desk)

# %% [markdown]
# In JupyterLab, not on this page, the same planner is a widget.

# %% tags=["widget"]
explore.widget(desk)

# %%
#| label: tbl-plan
#| tbl-cap: "The best use of as much compute as the largest training of the sweep had, and of ten and a hundred times as much: value and 95 % interval."
rows = {}
for factor in (1, 10, 100):
    for what, value, interval in explore.cells(desk.plan(desk.machine(), "hours", factor * desk.machine().hours(desk.measured))):
        rows.setdefault(what, {})[f"{factor} ×"] = f"{value} ({interval})" if interval else value
plots.table(pd.DataFrame([{"": what} | row for what, row in rows.items()]))

# %% [markdown]
# ### A clinic's year
#
# A clinic does not pretrain. It fine-tunes an open model with LoRA now and then, on questions about its own scans. That costs far less, and the law is not needed: questions × tokens × FLOPs a token. What
# must be known is which share of the peak is reached, and how much memory a step takes: the plan of [chapter 02](02_lora_finetuning.ipynb), here for a base in 4 bits with LoRA on the attention layers. Every part of that plan grows linearly
# with the rank, the tokens and the questions at once.

# %%
#| echo: false
work = {}
for name in bases:
    vision = configuration(name).vision_config
    tokens = (vision.image_size // vision.patch_size) ** 2 + question_tokens
    rank, context, batch = START
    planned = memory.plan(name, lora_rank=rank, context=context, batch_size=batch)
    work[name.partition("/")[2]] = FineTuning(planned.parameters, planned.trainable, tokens, questions, epochs, times, planned.total_gib)
explore.fine_tuning_page(desk, work, {name.partition("/")[2]: step_memory(name) for name in bases})

# %%
#| label: tbl-clinic
#| tbl-cap: "A year of fine-tuning with LoRA on a 4-bit base, by the share of the GPU's peak that is reached: GPU-hours and euros for all fine-tunings together, months of bookings, and the memory that chapter 02 plans for a step of one question and 256 text tokens."
rows = []
for title, one in work.items():
    for reached in (0.1, mfu, 0.5):
        year = one.year(desk.machine(mfu=reached))
        rows.append({"base": title, "of the peak": f"{reached:.0%}", "GPU-hours": short(year["hours"]), "euros": short(year["euros"]), f"months of {GPU_DAYS_A_MONTH} GPU-days": short(year["bookings"]), "memory, GiB": f"{one.memory_gib:.1f}", "of the GPU's": f"{year['memory_percent']:.0f} %"})
        if reached == mfu:
            record.metrics |= {f"clinic_hours_{title}".replace("-", "_").replace(".", "_"): year["hours"], f"clinic_euros_{title}".replace("-", "_").replace(".", "_"): year["euros"]}
plots.table(pd.DataFrame(rows))

# %%
#| echo: false
Markdown(f"Assumed: {questions:,} questions, {question_tokens} text tokens each beside the image's, seen {epochs} times, {times} fine-tunings a year, {euros_per_hour:.2f} euros an hour on one {gpu}. Nothing is computed twice to save memory; where more than 100 % of the GPU's would be needed, that, or a larger GPU, would be. DSRI's documentation (August 2026) gives a user one GPU and {GPU_DAYS_A_MONTH} GPU-days a month.")

# %% [markdown]
# ## Limits
#
# - The sweep is of tiny models on drawn studies. Its law is an example of the method, not a law of medical data.
# - A power law holds where it was measured. Plans beyond the largest run are extrapolations; the held-out run shows how far one step of that goes.
# - All cells share one learning rate. A better one for each size would bend the law.
# - Intervals of plans come from the law alone. The share of the peak, prices and the law's form are assumptions.
# - With little data, plans ask for larger models than Muennighoff et al. would: their discount of excess weights is left out.
# - Compute counts matrix products. Data loading, evaluation, failed runs and people are not in it.

# %% [markdown]
# ## Run card

# %%
#| echo: false
summary = record.save()
results.card(summary)

# %%
#| echo: false
chosen_metrics = {"notes_naive_c": "The notes' c, naive fit", "notes_c": "The same curve, robust fit", "notes_identified": "… identified", "known_c": "c of the curve with c = 2", "known_identified": "… identified", "coverage_log_E": "Intervals of log E that hold the truth", "cells": "Cells of the sweep", "alpha": "α", "beta": "β", "E": "E, nats", "identified": "The law is identified", "largest_predicted": "Largest run, predicted loss", "largest_loss": "… measured", "flops_per": "FLOPs a token and weight", "mfu_percent": "Share of the matrix-product peak, %"}
results.beside_record(summary, {name: title for name, title in chosen_metrics.items() if name in summary["metrics"] or results.of_record(CHAPTER)})

# %% [markdown]
# ## What's next
#
# [Chapter 08](08_guard_and_report.ipynb) asks how a model is kept from giving a patient a horrible answer, and what the patient can take home.
