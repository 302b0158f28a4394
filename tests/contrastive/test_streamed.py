import numpy as np
import torch

from medmm_lib.contrastive.fitting import Schedule
from medmm_lib.contrastive.mae import MAE, MAEShape
from medmm_lib.contrastive.streamed import fit_streamed


def test_a_mae_learns_from_a_stream_that_begins_again(tmp_path):
    passes = []

    def pictures():
        passes.append(0)
        for k in range(48):
            passes[-1] += 1
            yield np.full((16, 16), 40 + 4 * (7 * k % 48), np.uint8)

    torch.manual_seed(0)
    mae = MAE(MAEShape(side=16, patch=4, width=32, layers=1, heads=2, decoder_width=32, decoder_layers=1))
    fitted = fit_streamed(mae, pictures, Schedule(60, 8, 5e-3, 0), tmp_path)
    assert len(passes) == 10
    assert passes[:-1] == [48] * 9
    assert fitted.losses[-1]["step"] == 60
    losses = [entry["loss"] for entry in fitted.losses]
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) / 2
