"""The base model: a residual 3D U-Net for anisotropic sections.

Follows the residual squeeze-and-excitation U-Net of Lin et al., "Two Stream Active Query
Suggestion for Active Learning in Connectomics" (ECCV 2020): anisotropic stages convolve and
down-sample in the plane only, isotropic ones in all axes, skips are added, and up-sampling is
trilinear to the size of the skip.

Activations are (n * z, channels, y, x): sections lie in the batch, and a kernel that reaches
across sections reads its neighbours as channels. That is the same convolution, and on a CPU
several times faster than the library's 3D one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parfocal_runtime.errors import InvalidInput

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

    widths: tuple[int, ...] = (8, 16, 32, 64)
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

    Input: uint8 (n, 1, z, y, x); output: logits of the same shape, float32 as the weights are. Any
    size works; the normalisation (v / 255 - 0.5) / 0.5 is part of the model.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths, flags = config.widths, config.isotropy
        edge = (5, 5, 5) if all(flags) else (1, 5, 5)
        self.stem = SectionConv(1, widths[0], edge)
        self.norm = nn.GroupNorm(config.groups, widths[0])
        inputs = zip((widths[0], *widths), widths, flags, strict=False)
        self.encoder = nn.ModuleList(
            _Encoder(i, o, flag, config, first=stage == 0)
            for stage, (i, o, flag) in enumerate(inputs)
        )
        upwards = reversed(list(zip(widths[1:], widths, flags, strict=False)))
        self.decoder = nn.ModuleList(_Decoder(i, o, flag, config) for i, o, flag in upwards)
        self.head = SectionConv(widths[0], 1, edge, bias=True)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits for `image`, both (n, 1, z, y, x)."""
        depth, plane = image.shape[2], image.shape[3:]
        x = ((image.to(torch.float32) / 255.0 - 0.5) / 0.5).to(self.norm.weight.dtype)
        x = F.elu(self.norm(self.stem(x.view(-1, 1, *plane), depth)))
        skips: list[tuple[Tensor, int]] = []
        for stage in self.encoder:
            x, depth = stage(x, depth)
            skips.append((x, depth))
        skips.pop()
        for stage in self.decoder:
            skip, skip_depth = skips.pop()
            x = stage(x, depth, skip, skip_depth)
            depth = skip_depth
        return cast(Tensor, self.head(x, depth)).view(-1, 1, depth, *plane)


class SectionConv(nn.Module):
    """A 3D convolution over sections held in the batch, (n * z, c, y, x).

    The border is replicated along z and zero in the plane.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Kernel,
        *,
        stride: Kernel = (1, 1, 1),
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.reach, self.stride = kernel[0] // 2, stride[0]
        self.conv = nn.Conv2d(
            inputs * kernel[0],
            outputs,
            kernel[1:],
            stride=stride[1:],
            padding=(kernel[1] // 2, kernel[2] // 2),
            bias=bias,
        )

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """Return the convolved sections of volumes of `depth` sections."""
        if self.reach:
            x = self._with_neighbours(x.view(-1, depth, *x.shape[1:])).flatten(0, 1)
        return cast(Tensor, self.conv(x))

    def _with_neighbours(self, x: Tensor) -> Tensor:
        """Stack each section's neighbours along the channels of x (n, z, c, y, x)."""
        sections = x.shape[1]
        padded = torch.cat([x[:, :1]] * self.reach + [x] + [x[:, -1:]] * self.reach, dim=1)
        shifts = range(2 * self.reach + 1)
        return torch.cat([padded[:, at : at + sections : self.stride] for at in shifts], dim=2)


class SqueezeExcite(nn.Module):
    """Scale the channels by a gate computed from their means over (z, y, x)."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, width // reduction)
        self.gate = nn.Sequential(
            nn.Linear(width, hidden), nn.ELU(), nn.Linear(hidden, width), nn.Sigmoid()
        )

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """Return `x` with its channels scaled."""
        width = x.shape[1]
        means = x.mean(dim=(2, 3)).view(-1, depth, width).mean(dim=1)
        gate = cast(Tensor, self.gate(means))[:, None].expand(-1, depth, width)
        return x * gate.reshape(-1, width, 1, 1)


class ResidualBlock(nn.Module):
    """Two convolutions and a gate, added to the identity.

    Each section is normalised by itself, because contrast differs from section to section.
    """

    def __init__(self, width: int, isotropic: bool, config: UNetConfig) -> None:
        super().__init__()
        kernel = _kernel(isotropic)
        self.first = SectionConv(width, width, kernel)
        self.first_norm = nn.GroupNorm(config.groups, width)
        self.second = SectionConv(width, width, kernel)
        self.second_norm = nn.GroupNorm(config.groups, width)
        self.gate: nn.Module = SqueezeExcite(width, config.reduction)

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """Return `x` plus the branch."""
        branch = F.elu(self.first_norm(self.first(x, depth)))
        branch = self.second_norm(self.second(branch, depth))
        return F.elu(x + cast(Tensor, self.gate(branch, depth)))


class _Encoder(nn.Module):
    def __init__(
        self, inputs: int, width: int, isotropic: bool, config: UNetConfig, *, first: bool
    ) -> None:
        super().__init__()
        self.step = (1 if first or not isotropic else 2, 1 if first else 2)
        self.pooling = config.pooling
        z, plane = (1, 1) if config.pooling else self.step
        self.conv = SectionConv(inputs, width, _kernel(isotropic), stride=(z, plane, plane))
        self.norm = nn.GroupNorm(config.groups, width)
        self.block = ResidualBlock(width, isotropic, config)

    def forward(self, x: Tensor, depth: int) -> tuple[Tensor, int]:
        z, plane = self.step
        pooled = -(-depth // z)
        if self.pooling and plane > 1:
            x = _pool(x, depth, z)
        x = F.elu(self.norm(self.conv(x, pooled if self.pooling else depth)))
        return cast(Tensor, self.block(x, pooled)), pooled


class _Decoder(nn.Module):
    def __init__(self, inputs: int, width: int, isotropic: bool, config: UNetConfig) -> None:
        super().__init__()
        self.align_corners = not config.pooling
        self.conv = SectionConv(inputs, width, (1, 1, 1))
        self.norm = nn.GroupNorm(config.groups, width)
        self.block = ResidualBlock(width, isotropic, config)

    def forward(self, x: Tensor, depth: int, skip: Tensor, skip_depth: int) -> Tensor:
        x = F.elu(self.norm(self.conv(x, depth)))
        plane = list(skip.shape[2:])
        x = F.interpolate(x, plane, mode="bilinear", align_corners=self.align_corners)
        x = _resize_depth(x, depth, skip_depth, align_corners=self.align_corners)
        return cast(Tensor, self.block(x + skip, skip_depth))


def _kernel(isotropic: bool) -> Kernel:
    return (3, 3, 3) if isotropic else (1, 3, 3)


def _pool(x: Tensor, depth: int, z: int) -> Tensor:
    """Halve the plane, and z where `z` is 2, by the maximum; odd sizes round up."""
    if z == 2:
        x = x.view(-1, depth, *x.shape[1:])
        if depth % 2:
            x = torch.cat([x, x[:, -1:]], dim=1)
        x = torch.maximum(x[:, ::2], x[:, 1::2]).flatten(0, 1)
    return F.max_pool2d(x, 2, ceil_mode=True)


def _resize_depth(x: Tensor, source: int, target: int, *, align_corners: bool) -> Tensor:
    """Interpolate linearly from `source` to `target` sections."""
    if source == target:
        return x
    below, above, weights = _linear(source, target, align_corners=align_corners)
    x = x.view(-1, source, *x.shape[1:])
    low, high = (
        x.index_select(1, torch.tensor(index, device=x.device)) for index in (below, above)
    )
    weight = x.new_tensor(weights)[:, None, None, None]
    return (low + weight * (high - low)).flatten(0, 1)


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
