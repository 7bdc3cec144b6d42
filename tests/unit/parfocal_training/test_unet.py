from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parfocal_runtime.errors import InvalidInput
from parfocal_training.unet import (
    ResidualBlock,
    SectionConv,
    UNet,
    UNetConfig,
    _pool,
    _resize_depth,
)

TINY = UNetConfig(widths=(4, 8, 8), isotropy=(False, False, True))


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def as_sections(volume: Tensor) -> Tensor:
    return volume.transpose(1, 2).flatten(0, 1)


def as_volumes(sections: Tensor, depth: int) -> Tensor:
    return sections.view(-1, depth, *sections.shape[1:]).transpose(1, 2)


@pytest.mark.parametrize("pooling", [True, False])
@pytest.mark.parametrize("size", [(4, 32, 32), (5, 33, 17), (1, 16, 24), (2, 15, 16)])
def test_the_output_has_the_shape_of_the_input(size: tuple[int, ...], pooling: bool) -> None:
    config = UNetConfig(widths=TINY.widths, isotropy=TINY.isotropy, pooling=pooling)
    network = UNet(config)

    logits = network(noise(2, 1, *size))

    assert logits.shape == (2, 1, *size)
    assert logits.dtype == torch.float32


def test_a_batch_of_one_gives_what_it_gives_in_a_batch() -> None:
    network = UNet(TINY)
    image = noise(3, 1, 4, 16, 16)

    together = network(image)

    torch.testing.assert_close(network(image[1:2]), together[1:2])


def test_one_section_is_enough_to_train_on() -> None:
    network = UNet(TINY)

    network(noise(1, 1, 1, 16, 16)).sum().backward()

    assert all(p.grad is not None for p in network.parameters())


def test_a_section_convolution_is_a_volume_convolution() -> None:
    torch.manual_seed(0)
    layer = SectionConv(2, 3, (3, 3, 3))
    volume = torch.randn(2, 2, 5, 8, 8)
    kernel = layer.conv.weight.view(3, 3, 2, 3, 3).transpose(1, 2)
    padded = F.pad(volume, (0, 0, 0, 0, 1, 1), mode="replicate")

    found = as_volumes(layer(as_sections(volume), 5), 5)

    torch.testing.assert_close(found, F.conv3d(padded, kernel, padding=(0, 1, 1)))


class NoGate(nn.Module):
    """In the place of the gate, which pools over all sections."""

    def forward(self, x: Tensor, depth: int) -> Tensor:
        return x


def test_an_anisotropic_network_treats_sections_alone() -> None:
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(4, 8), isotropy=(False, False)))
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.gate = NoGate()
    image = noise(1, 1, 3, 16, 16)

    together = network(image)

    torch.testing.assert_close(together[:, :, 1:2], network(image[:, :, 1:2]))


def test_an_isotropic_stage_sees_the_neighbouring_sections() -> None:
    torch.manual_seed(0)
    network = UNet(TINY)
    image = noise(1, 1, 4, 16, 16)
    changed = image.clone()
    changed[:, :, 3] = 255 - changed[:, :, 3]

    before, after = network(image), network(changed)

    assert not torch.allclose(before[:, :, 0], after[:, :, 0])


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("source", "target"), [(2, 4), (2, 3), (3, 5), (1, 2)])
def test_depth_is_resized_trilinearly(source: int, target: int, align_corners: bool) -> None:
    volume = torch.randn(2, 3, source, 4, 4)
    wanted = F.interpolate(volume, (target, 4, 4), mode="trilinear", align_corners=align_corners)

    found = _resize_depth(as_sections(volume), source, target, align_corners=align_corners)

    torch.testing.assert_close(as_volumes(found, target), wanted)


@pytest.mark.parametrize("depth", [4, 5])
def test_isotropic_pooling_is_maximum_pooling(depth: int) -> None:
    volume = torch.randn(2, 3, depth, 6, 6)

    found = _pool(as_sections(volume), depth, 2)

    wanted = F.max_pool3d(volume, 2, ceil_mode=True)
    torch.testing.assert_close(as_volumes(found, wanted.shape[2]), wanted)


@pytest.mark.parametrize(
    ("widths", "isotropy", "field"),
    [((), (), "isotropy"), ((4,), (True, False), "isotropy"), ((6,), (True,), "widths")],
)
def test_parts_that_do_not_fit_are_refused(
    widths: tuple[int, ...], isotropy: tuple[bool, ...], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        UNetConfig(widths=widths, isotropy=isotropy)

    assert caught.value.metadata["field"] == field


def test_building_twice_from_one_configuration_gives_the_same_network() -> None:
    shapes = [[tuple(p.shape) for p in UNet(TINY).parameters()] for _ in range(2)]

    assert shapes[0] == shapes[1]
