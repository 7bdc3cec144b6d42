from __future__ import annotations

import math

import pytest
import torch

from parfocal_training.losses import (
    balanced_bce,
    balanced_weights,
    dice,
    embedding_loss,
    reconstruction_loss,
    segmentation_loss,
    triplet_loss,
)


def share_of(foreground: float, count: int = 200) -> torch.Tensor:
    target = torch.zeros(1, 1, 1, 1, count)
    target[..., : round(foreground * count)] = 1
    return target


@pytest.mark.parametrize(
    ("foreground", "weight_of_foreground", "weight_of_background"),
    [(0.1, 9.0, 1.0), (0.01, 19.0, 1.0), (0.8, 1.0, 4.0), (0.5, 1.0, 1.0)],
)
def test_the_rarer_side_gets_the_ratio_up_to_the_cap(
    foreground: float, weight_of_foreground: float, weight_of_background: float
) -> None:
    weights = balanced_weights(share_of(foreground))

    assert weights.flatten()[0].item() == pytest.approx(weight_of_foreground)
    assert weights.flatten()[-1].item() == pytest.approx(weight_of_background)


@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_a_target_of_one_value_weighs_one_everywhere(foreground: float) -> None:
    weights = balanced_weights(share_of(foreground))

    assert torch.equal(weights, torch.ones_like(weights))


def test_voxels_that_are_not_valid_weigh_nothing_and_do_not_count() -> None:
    target = share_of(0.5)
    valid = torch.ones_like(target)
    valid[..., 100:190] = 0

    weights = balanced_weights(target, valid)

    assert weights[..., 100:190].sum() == 0
    assert weights.flatten()[-1].item() == pytest.approx(10.0)


def test_cross_entropy_of_no_opinion_is_the_mean_weight_times_log_2() -> None:
    target = share_of(0.1)

    loss = balanced_bce(torch.zeros_like(target), target)

    assert loss.item() == pytest.approx(math.log(2) * (0.1 * 9 + 0.9))


def test_dice_is_smoothed_by_a_hundred_voxels() -> None:
    target = share_of(0.5)

    loss = dice(torch.full_like(target, -100.0), target)

    assert loss.item() == pytest.approx(1 - 100 / 200)


@pytest.mark.parametrize("loss", [balanced_bce, dice, segmentation_loss])
def test_what_is_not_valid_has_no_influence(loss: type) -> None:
    target, logits = share_of(0.3), torch.randn(1, 1, 1, 1, 200)
    valid = torch.ones_like(target)
    valid[..., 20:80] = 0
    changed_target, changed_logits = target.clone(), logits.clone()
    changed_target[..., 20:80] = 1 - changed_target[..., 20:80]
    changed_logits[..., 20:80] = 9.0

    first = loss(logits, target, valid)

    assert loss(changed_logits, changed_target, valid).item() == pytest.approx(first.item())


@pytest.mark.parametrize("loss", [balanced_bce, dice, segmentation_loss])
def test_no_mask_is_a_mask_of_ones(loss: type) -> None:
    target, logits = share_of(0.3), torch.randn(1, 1, 1, 1, 200)

    masked = loss(logits, target, torch.ones_like(target))

    assert loss(logits, target, None).item() == pytest.approx(masked.item())


def test_nothing_valid_gives_a_finite_loss() -> None:
    target = share_of(0.3)

    loss = segmentation_loss(torch.zeros_like(target), target, torch.zeros_like(target))

    assert loss.item() == 0.0


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [(0.5, 1.0, 0.285074), (1.0, 0.5, 0.774911), (0.0, 0.0, 0.5)],
)
def test_triplet_loss_matches_the_closed_form(
    positive: float, negative: float, expected: float
) -> None:
    loss = triplet_loss(torch.tensor(positive), torch.tensor(negative))

    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_triplet_loss_is_the_squared_distance_of_softmax_to_its_ideal() -> None:
    distances = torch.tensor([0.3, 1.7])
    ideal = torch.tensor([0.0, 1.0])

    loss = triplet_loss(distances[0], distances[1])

    assert loss.item() == pytest.approx(((distances.softmax(0) - ideal) ** 2).sum().item())


def test_an_anchor_that_meets_its_twin_has_a_finite_gradient() -> None:
    anchor = torch.zeros(1, 3, requires_grad=True)

    embedding_loss(anchor, anchor, torch.ones(1, 3)).backward()  # type: ignore[no-untyped-call]

    assert anchor.grad is not None
    assert bool(torch.isfinite(anchor.grad).all())


@pytest.mark.parametrize(("norm", "distance"), [("l1", 0.5), ("mse", 0.25)])
def test_reconstruction_adds_the_weighted_divergence(norm: str, distance: float) -> None:
    output, target = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5)
    mean, log_variance = torch.ones(2, 3), torch.zeros(2, 3)

    loss = reconstruction_loss(output, target, mean, log_variance, norm=norm, kl_weight=0.1)

    assert loss.item() == pytest.approx(distance + 0.1 * 1.5)
