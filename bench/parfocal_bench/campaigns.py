"""The campaigns that come with the bench, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from parfocal import InvalidRequestError
from parfocal_bench.classification import Schedule
from parfocal_bench.fine_tuning import FineTuning, Lessons
from parfocal_bench.hog import Description
from parfocal_bench.probe import LinearProbe
from parfocal_bench.protocol import Protocol
from parfocal_bench.retraining import Retraining

CAMPAIGNS: Mapping[str, Callable[[Path], Protocol]] = {
    "malaria-probe": lambda packs: LinearProbe(
        packs,
        "malaria",
        candidates=6000,
        schedule=Schedule(50, 50, 6),
        test_every=2,
        description=Description(cell=16, shades=10),
        shrunk=False,
        by_direction=True,
    ),
    "cifar10-probe": lambda packs: LinearProbe(
        packs, "cifar10", candidates=5000, schedule=Schedule(100, 100, 9)
    ),
    "malaria-network": lambda packs: FineTuning(
        packs,
        "malaria",
        candidates=2000,
        schedule=Schedule(50, 50, 4),
        lessons=Lessons(),
        test_every=4,
    ),
    "cifar10-network": lambda packs: FineTuning(
        packs,
        "cifar10",
        candidates=5000,
        schedule=Schedule(250, 250, 3),
        lessons=Lessons(),
    ),
    "cifar10-resnet18": lambda packs: Retraining(
        packs, "cifar10", candidates=5000, schedule=Schedule(500, 500, 3)
    ),
}
"""How each is made from the folder of the data packs."""


def on_device(protocol: Protocol, device: str) -> Protocol:
    """Return a campaign that lets torch work on a device.

    Raises:
        InvalidRequestError: If it has no use for one.
    """
    if isinstance(protocol, FineTuning | Retraining):
        return replace(protocol, device=device)
    if device != "cpu":
        raise InvalidRequestError(f"{protocol.name} works on the processor, not on {device!r}")
    return protocol
