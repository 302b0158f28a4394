import numpy as np
import pytest
import torch

from medmm_lib.fourm import reconstruction


@pytest.fixture
def pictures():
    return torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_a_copy_is_perfect_and_noise_costs_what_it_must(pictures):
    known = pictures.numpy()
    assert np.isinf(reconstruction.psnr(known, known)).all()
    assert reconstruction.ssim(known, known) == pytest.approx(1.0)
    off = (known // 2 + 64).astype(np.uint8)
    shifted = (off + 10).astype(np.uint8)
    assert reconstruction.psnr(off, shifted) == pytest.approx(20 * np.log10(255 / 10))


def test_iou_of_each_class():
    known, made = np.array([[[0, 0, 1, 1]]]), np.array([[[0, 1, 1, 1]]])
    values = reconstruction.iou(known, made, 3)
    assert values[:2] == pytest.approx([1 / 2, 2 / 3])
    assert np.isnan(values[2])


def test_pooling_keeps_flat_images_only(pictures):
    flat = torch.full((1, 32, 32), 77, dtype=torch.uint8)
    assert torch.equal(reconstruction.pooled(flat, 8), flat)
    assert (reconstruction.psnr(pictures.numpy(), reconstruction.pooled(pictures, 8).numpy()) < 20).all()


def test_the_nearest_training_image(pictures):
    noisy = (pictures[[2, 0]].float() * 0.9).to(torch.uint8)
    assert torch.equal(reconstruction.nearest(noisy, pictures), pictures[[2, 0]])
