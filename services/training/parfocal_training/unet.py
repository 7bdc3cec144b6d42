"""The base model: a residual 3D U-Net for anisotropic sections.

Follows the residual squeeze-and-excitation U-Net of Lin et al., "Two Stream Active Query
Suggestion for Active Learning in Connectomics" (ECCV 2020): anisotropic stages convolve and
down-sample in the plane only, isotropic ones in all axes, skips are added, and up-sampling is
trilinear to the size of the skip.

Activations are (n, z, channels, y, x): sections lie in the batch, and a kernel that reaches
across sections reads its neighbours as channels. That is the same convolution, and on a CPU
about ten times faster than the library's 3D one, in torch and in ONNX Runtime alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from parfocal_runtime.errors import InvalidInput
from torch import Tensor, nn

Kernel = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of a U-Net.

    Attributes:
        widths: Channels of each stage, finest first; each a multiple of `groups`.
        isotropy: For each stage, whether it convolves and down-samples along z as well.
        groups: Groups of the group normalisation, which works at batch size 1.
        reduction: Squeeze-and-excitation bottleneck, channels divided by this.
        pooling: Down-sample by maximum (for even sizes) instead of by strided convolution
            (for sizes 2n+1).

    Raises:
        InvalidInput: If the parts do not fit together (`ERROR_REASON_INVALID_FIELD`).
    """

    widths: tuple[int, ...] = (12, 24, 48, 64)
    isotropy: tuple[bool, ...] = (False, False, True, True)
    groups: int = 4
    reduction: int = 4
    pooling: bool = True

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.isotropy):
            raise _invalid("isotropy", "one isotropy flag is needed for each width")
        if self.groups < 1 or any(w < 1 or w % self.groups for w in self.widths):
            raise _invalid("widths", f"each width must be a positive multiple of {self.groups}")
        if self.reduction < 1:
            raise _invalid("reduction", "the reduction must be at least 1")


class UNet(nn.Module):
    """Map sections to foreground logits.

    Input: uint8 (n, 1, z, y, x); output: float32 logits of the same shape. Any size works; the
    normalisation (v / 255 - 0.5) / 0.5 is part of the model.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths, flags = config.widths, config.isotropy
        edge = (5, 5, 5) if all(flags) else (1, 5, 5)
        self.stem = nn.Sequential(SectionConv(1, widths[0], edge), SectionNorm(widths[0], config))
        self.encoder = nn.ModuleList(
            _Encoder(i, o, flag, config, first=stage == 0)
            for stage, (i, o, flag) in enumerate(
                zip((widths[0], *widths), widths, flags, strict=False)
            )
        )
        pairs = reversed(list(zip(widths[1:], widths, flags, strict=False)))
        self.decoder = nn.ModuleList(_Decoder(i, o, flag, config) for i, o, flag in pairs)
        self.head = SectionConv(widths[0], 1, edge, bias=True)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits for `image`, both (n, 1, z, y, x)."""
        x = (image.to(torch.float32) / 255.0 - 0.5) / 0.5
        x = self.stem(x.transpose(1, 2))
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for stage in self.decoder:
            x = stage(x, skips.pop())
        return cast(Tensor, self.head(x)).transpose(1, 2)


class SectionConv(nn.Module):
    """A 3D convolution over sections held in the batch, (n, z, c, y, x).

    The border is replicated along z and zero in the plane.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, *, bias: bool = False) -> None:
        super().__init__()
        self.depth, height, width = kernel
        padding = (height // 2, width // 2)
        self.conv = nn.Conv2d(
            inputs * self.depth, outputs, (height, width), padding=padding, bias=bias
        )

    stride: Kernel = (1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved sections."""
        x = _neighbours(x, self.depth, self.stride[0])
        return _per_section(self.conv, x)


class StridedConv(SectionConv):
    """A `SectionConv` that also halves the plane, and z if its kernel reaches along z."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel) -> None:
        super().__init__(inputs, outputs, kernel)
        self.stride = (2 if kernel[0] > 1 else 1, 2, 2)
        self.conv.stride = (2, 2)


class SectionNorm(nn.Module):
    """Group normalisation section by section, then the activation.

    Each section has statistics of its own because contrast differs from section to section.
    """

    def __init__(self, width: int, config: UNetConfig, *, activation: bool = True) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.groups, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised sections."""
        x = _per_section(self.norm, x)
        return F.elu(x) if self.activation else x


class SqueezeExcite(nn.Module):
    """Scale the channels by a gate computed from their means over (z, y, x)."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, width // reduction)
        self.gate = nn.Sequential(
            nn.Linear(width, hidden), nn.ELU(), nn.Linear(hidden, width), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with its channels scaled."""
        gate = cast(Tensor, self.gate(x.mean(dim=(1, 3, 4))))
        return x * gate[:, None, :, None, None]


class ResidualBlock(nn.Module):
    """Two convolutions and a gate, added to the identity."""

    def __init__(self, width: int, isotropic: bool, config: UNetConfig) -> None:
        super().__init__()
        kernel = _kernel(isotropic)
        self.branch = nn.Sequential(
            SectionConv(width, width, kernel),
            SectionNorm(width, config),
            SectionConv(width, width, kernel),
            SectionNorm(width, config, activation=False),
            SqueezeExcite(width, config.reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` plus the branch."""
        return F.elu(x + cast(Tensor, self.branch(x)))


class _Encoder(nn.Module):
    def __init__(
        self, inputs: int, width: int, isotropic: bool, config: UNetConfig, *, first: bool
    ) -> None:
        super().__init__()
        kernel = _kernel(isotropic)
        self.pool_depth = 2 if isotropic else 1
        self.pool = config.pooling and not first
        strided = not config.pooling and not first
        conv = (StridedConv if strided else SectionConv)(inputs, width, kernel)
        self.conv = nn.Sequential(conv, SectionNorm(width, config))
        self.block = ResidualBlock(width, isotropic, config)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool:
            x = _pool(x, self.pool_depth)
        return cast(Tensor, self.block(self.conv(x)))


class _Decoder(nn.Module):
    def __init__(self, inputs: int, width: int, isotropic: bool, config: UNetConfig) -> None:
        super().__init__()
        self.align_corners = not config.pooling
        self.conv = nn.Sequential(SectionConv(inputs, width, (1, 1, 1)), SectionNorm(width, config))
        self.block = ResidualBlock(width, isotropic, config)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = _resize(self.conv(x), skip, align_corners=self.align_corners)
        return cast(Tensor, self.block(x + skip))


def _kernel(isotropic: bool) -> Kernel:
    return (3, 3, 3) if isotropic else (1, 3, 3)


def _per_section(layer: nn.Module, x: Tensor) -> Tensor:
    return _volumes(cast(Tensor, layer(x.flatten(0, 1))), x.shape[1])


def _volumes(sections: Tensor, depth: int) -> Tensor:
    # The number of sections is fixed in an exported graph, the batch is not.
    return sections.view(-1, depth, *sections.shape[1:])


def _neighbours(x: Tensor, depth: int, stride: int) -> Tensor:
    """Stack each section's `depth` neighbours along the channels: (n, z/stride, c*depth, y, x)."""
    if depth == 1:
        return x
    reach, sections = depth // 2, x.shape[1]
    padded = torch.cat([x[:, :1]] * reach + [x] + [x[:, -1:]] * reach, dim=1)
    return torch.cat([padded[:, at : at + sections : stride] for at in range(depth)], dim=2)


def _pool(x: Tensor, depth: int) -> Tensor:
    """Halve the plane, and z where `depth` is 2, by the maximum; odd sizes round up."""
    if depth == 2 and x.shape[1] > 1:
        if x.shape[1] % 2:
            x = torch.cat([x, x[:, -1:]], dim=1)
        x = torch.maximum(x[:, ::2], x[:, 1::2])
    return _volumes(F.max_pool2d(x.flatten(0, 1), 2, ceil_mode=True), x.shape[1])


def _resize(x: Tensor, like: Tensor, *, align_corners: bool) -> Tensor:
    """Interpolate trilinearly to the z, y, x of `like`."""
    size = list(like.shape[3:])
    plane = F.interpolate(x.flatten(0, 1), size, mode="bilinear", align_corners=align_corners)
    x = _volumes(plane, x.shape[1])
    if x.shape[1] == like.shape[1]:
        return x
    below, above, weights = _linear(x.shape[1], like.shape[1], align_corners=align_corners)
    weight = x.new_tensor(weights)[:, None, None, None]
    low, high = (
        x.index_select(1, torch.tensor(index, device=x.device)) for index in (below, above)
    )
    return low + weight * (high - low)


def _linear(
    source: int, target: int, *, align_corners: bool
) -> tuple[list[int], list[int], list[float]]:
    """Return for each target position its two source positions and the weight of the second."""
    below, above, weights = [], [], []
    for position in range(target):
        if align_corners:
            at = position * (source - 1) / max(target - 1, 1)
        else:
            at = max((position + 0.5) * source / target - 0.5, 0.0)
        low = min(int(at), source - 1)
        below.append(low)
        above.append(min(low + 1, source - 1))
        weights.append(at - low)
    return below, above, weights


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput("ERROR_REASON_INVALID_FIELD", message, field=field)
