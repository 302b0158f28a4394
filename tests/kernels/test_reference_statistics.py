"""Parity mode against 20,000 samples of the public 4M code (commit cda590f): every |z| < 4.

`reference_statistics.json` holds that code's statistics for captions of 8-24 words and 1-6 boxes (five tokens each),
every text ended by one token. Standard errors come from both samples.
"""

import json
from pathlib import Path

import pytest
import torch

from medmm_kernels import mask_batch, token_budgets

from .batches import EIGHT, eight, eight_tokens

REFERENCE = json.loads((Path(__file__).parent / "reference_statistics.json").read_text())
N = 20_000


def z_of_mean(ours, mean, variance=None):
    """z of the difference of two means; the reference's variance is taken to be ours where it is not known."""
    ours = ours.double()
    error = ((ours.var() + (ours.var() if variance is None else variance)) / N) ** 0.5
    if error == 0:
        return 0.0 if float(ours.mean()) == pytest.approx(mean) else float("inf")
    return float((ours.mean() - mean) / error)


def z_of_variance(ours, variance):
    ours = ours.double()
    if ours.var() == 0:
        return 0.0 if variance == 0 else float("inf")
    fourth = ((ours - ours.mean()) ** 4).mean()
    return float((ours.var() - variance) / (2 * (fourth - ours.var() ** 2) / N) ** 0.5)


def scores(setting, parity=True):
    reference, ids = REFERENCE[setting], torch.arange(N)
    spec = eight(float(setting.split("_")[0]), reference["budget"], parity=parity)
    most = torch.tensor([spec.modalities[name].max_tokens for name in spec.names])
    budgets = token_budgets(spec, most.expand(N, -1), seed=0, sample_ids=ids)
    result = mask_batch(*eight_tokens(N), spec, seed=0, sample_ids=ids)
    z = {}
    for side, budget, rows in (("in", budgets[0], result.encoder), ("tg", budgets[1], result.decoder)):
        real = torch.stack([(rows.modality == m).sum(1) for m in range(len(EIGHT))], 1)
        for m, name in enumerate(EIGHT):
            where = f"{side} {name}"
            mean, variance, none, used = (
                reference[f"{side}_{key}"][m] for key in ("budget_mean", "budget_var", "budget_p0", "real_mean")
            )
            z[f"{where} budget"] = z_of_mean(budget[:, m], mean, variance)
            z[f"{where} variance"] = z_of_variance(budget[:, m], variance)
            z[f"{where} none"] = z_of_mean(budget[:, m] == 0, none)
            z[f"{where} used"] = z_of_mean(real[:, m], used)
        total, tokens = reference[f"{side}_budget_total"], reference["enc_tokens" if side == "in" else "dec_tokens"]
        z[f"{side} total"] = z_of_mean(budget.sum(1), total["mean"], total["sd"] ** 2)
        z[f"{side} full"] = z_of_mean(budget.sum(1) == reference["budget"], reference[f"p_{side}_total_full"])
        z[f"{side} tokens"] = z_of_mean(real.sum(1), tokens["mean"], tokens["sd"] ** 2)
    z["encoder full"] = z_of_mean(result.encoder.valid.all(1), reference["p_enc_full"])
    return z


@pytest.mark.parametrize("setting", REFERENCE)
def test_parity_mode_has_the_statistics_of_the_reference(setting):
    z = scores(setting)
    assert len(z) == 71
    far = {name: round(value, 2) for name, value in z.items() if abs(value) >= 4}
    assert not far


def test_the_statistics_tell_another_mode_apart():
    """The default mode redistributes surplus: it must not pass for the reference."""
    assert max(map(abs, scores("0.5_256", parity=False).values())) > 20
