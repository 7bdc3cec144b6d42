"""Losses of the base model and of the encoders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BALANCE_CAP = 19.0
DICE_SMOOTH = 100.0
KL_WEIGHT = 1e-4


def balanced_weights(
    target: Tensor, valid: Tensor | None = None, *, cap: float = BALANCE_CAP
) -> Tensor:
    """Weigh each voxel so that foreground and background count alike, up to `cap`.

    The rarer side gets max(f, 1-f) / min(f, 1-f), at most `cap`, and the other side 1, where f is
    the foreground fraction of all valid voxels; a target of one value gets 1 everywhere.

    Args:
        target: Float {0, 1}, any shape.
        valid: Float {0, 1} of the same shape; None means that every voxel counts.
        cap: Largest weight.

    Returns:
        Weights of the shape of `target`, zero where not valid.
    """
    mask = torch.ones_like(target) if valid is None else valid
    count = mask.sum()
    share = (target * mask).sum() / count.clamp(min=1.0)
    rare, common = torch.minimum(share, 1 - share), torch.maximum(share, 1 - share)
    ratio = torch.where(rare > 0, common / rare.clamp(min=1e-12), torch.ones_like(rare))
    ratio = ratio.clamp(max=cap)
    foreground, background = (ratio, 1.0) if bool(share <= 0.5) else (1.0, ratio)
    return mask * (target * foreground + (1 - target) * background)


def balanced_bce(
    logits: Tensor, target: Tensor, valid: Tensor | None = None, *, cap: float = BALANCE_CAP
) -> Tensor:
    """Return the mean over valid voxels of the balanced binary cross-entropy.

    Zero where no voxel is valid. `target` and `valid` as in `balanced_weights`.
    """
    weights = balanced_weights(target, valid, cap=cap)
    loss = F.binary_cross_entropy_with_logits(logits, target, weight=weights, reduction="sum")
    count = target.new_tensor(target.numel()) if valid is None else valid.sum()
    return loss / count.clamp(min=1.0)


def dice(
    logits: Tensor, target: Tensor, valid: Tensor | None = None, *, smooth: float = DICE_SMOOTH
) -> Tensor:
    """Return 1 - (2 |P T| + s) / (|P| + |T| + s) per sample, averaged; P = sigmoid(logits).

    Args:
        logits: (n, ...).
        target: Float {0, 1} of the same shape.
        valid: Float {0, 1} of the same shape; None means that every voxel counts.
        smooth: The smoothing s, in voxels.
    """
    probability = torch.sigmoid(logits)
    if valid is not None:
        probability, target = probability * valid, target * valid
    probability, target = probability.flatten(1), target.flatten(1)
    overlap = (probability * target).sum(1)
    total = probability.sum(1) + target.sum(1)
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def segmentation_loss(
    logits: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    cap: float = BALANCE_CAP,
    dice_weight: float = 0.5,
) -> Tensor:
    """Return balanced cross-entropy + `dice_weight` x Dice."""
    return balanced_bce(logits, target, valid, cap=cap) + dice_weight * dice(logits, target, valid)


def reconstruction_loss(
    output: Tensor,
    target: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    *,
    norm: str,
    kl_weight: float,
) -> Tensor:
    """Return the loss of a variational auto-encoder, reconstruction + `kl_weight` x KL.

    Args:
        output: Reconstruction, (n, 1, y, x).
        target: What was to be reconstructed, the same shape.
        mean: Latent means, (n, d).
        log_variance: Latent log-variances, (n, d).
        norm: `l1` or `mse`, averaged over all elements.
        kl_weight: Weight of the KL divergence, which is averaged over the batch.
    """
    distance = F.l1_loss if norm == "l1" else F.mse_loss
    divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
    return distance(output, target) + kl_weight * divergence


def triplet_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Return 2 sigmoid(dP - dN)^2 for each pair of distances.

    The squared norm of softmax(dP, dN) - (0, 1), where dP is an anchor's distance to a sample with
    the same verdict and dN to one with the other (Lin et al., ECCV 2020, active clustering).
    """
    return 2 * torch.sigmoid(positive - negative) ** 2


def embedding_loss(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Return the mean loss of triplets of embeddings, each (n, d)."""
    # The gradient of a norm is not defined at zero, and an anchor may meet its twin.
    near = torch.sqrt(((anchor - positive) ** 2).sum(1) + 1e-8)
    far = torch.sqrt(((anchor - negative) ** 2).sum(1) + 1e-8)
    return triplet_loss(near, far).mean()
