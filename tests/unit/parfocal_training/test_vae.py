from __future__ import annotations

import numpy as np
import pytest
import torch

from parfocal_runtime.errors import InvalidInput
from parfocal_training.vae import Encoder, Vae, VaeConfig


@pytest.mark.parametrize(("stream", "dtype"), [("image", torch.uint8), ("mask", torch.int8)])
def test_a_patch_becomes_a_vector_and_a_patch_again(stream: str, dtype: torch.dtype) -> None:
    model = Vae(VaeConfig(stream=stream, side=16, latent=5, widths=(4, 8)))
    patch = torch.zeros(3, 1, 16, 16, dtype=dtype)

    output, mean, log_variance = model(patch, torch.zeros(3, 5))

    assert output.shape == (3, 1, 16, 16)
    assert output.abs().max() <= 1
    assert mean.shape == log_variance.shape == (3, 5)
    torch.testing.assert_close(model.encoder(patch), mean)


def test_the_widths_are_not_turned_round_in_place() -> None:
    config = VaeConfig(stream="image", side=16, latent=2, widths=(4, 8))

    first, second = Vae(config), Vae(config)

    assert config.widths == (4, 8)
    assert [p.shape for p in first.parameters()] == [p.shape for p in second.parameters()]


def test_noise_scales_with_the_variance() -> None:
    model = Vae(VaeConfig(stream="image", side=16, latent=2, widths=(4, 8)))
    patch = torch.from_numpy(np.full((2, 1, 16, 16), 9, dtype=np.uint8))

    calm, wild = (model(patch, torch.full((2, 2), noise))[0] for noise in (0.0, 3.0))

    assert not torch.allclose(calm, wild)


def test_a_side_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        VaeConfig(stream="image", side=20, widths=(4, 8, 8))

    assert caught.value.metadata["field"] == "patch_side"


def test_masks_keep_their_two_sides_apart() -> None:
    torch.manual_seed(0)
    encoder = Encoder(VaeConfig(stream="mask", side=16, latent=4, widths=(4, 8)))
    left = torch.ones(1, 1, 16, 16, dtype=torch.int8)

    assert not torch.allclose(encoder(left), encoder(-left))
