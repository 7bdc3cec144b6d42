"""Turns a finished campaign into the findings and the pictures of its report."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from parfocal import __version__
from parfocal_demo import gallery
from parfocal_demo.campaign import Campaign
from parfocal_demo.evaluation import average_precision_gain
from parfocal_demo.following import Follower
from parfocal_demo.intervals import wilson
from parfocal_demo.report.findings import Crop, Findings, InitialLabels, Pool, Split
from parfocal_demo.report.pictures import Pictures
from parfocal_demo.settings import Settings
from parfocal_demo.specs import Specs
from parfocal_runtime.layout import model_version_folder
from parfocal_runtime.store import ObjectStore

if TYPE_CHECKING:
    from parfocal import Client

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "onnxruntime", "tensorstore", "grpcio")
_EIGHT_CONNECTED = np.ones((3, 3), bool)


def summarise(
    campaign: Campaign,
    *,
    client: Client,
    store: ObjectStore,
    follower: Follower,
    total_seconds: float,
    out: str,
) -> tuple[Findings, Pictures]:
    """Return everything that the report says and shows.

    Args:
        campaign: A campaign that was run to its end.
        client: A connection as a viewer.
        store: The object store of the deployment.
        follower: What ran the campaign; it knows what took how long.
        total_seconds: Wall-clock seconds of the whole run.
        out: Folder of the report, for the command that does it again.
    """
    specs, (two, random) = campaign.specs, campaign.arms
    shown, plates = gallery.suggestions(client, specs.artifacts, two)
    compared = [("Base model", campaign.start.scored)]
    compared += [("After two-stream", two.scored), ("After random", random.scored)]
    findings = Findings(
        product=f"Parfocal {__version__}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        input=campaign.facts,
        split=Split(
            (specs.train.start[2], specs.train.stop[2]), (specs.test.start[2], specs.test.stop[2])
        ),
        initial_labels=_initial_labels(specs),
        pool=_pool(campaign),
        arms=(two.arm, random.arm),
        arms_difference=average_precision_gain(
            random.scored.score.histograms, two.scored.score.histograms
        ),
        propagation=campaign.propagation,
        suggestions=shown,
        stages=follower.stages(),
        total_seconds=total_seconds,
        own_label_accuracy=_own_label_accuracy(store, _models(campaign)),
        parameters=specs.settings.as_text(),
        versions=_versions(),
        commands=(_command(specs.settings, out),),
        notes=tuple(_notes(campaign)),
    )
    pictures = Pictures(gallery.overview(specs), gallery.comparison(specs, compared), plates)
    return findings, pictures


def _initial_labels(specs: Specs) -> InitialLabels:
    crops, profiles, pixels = [], 0, 0
    for box in specs.crops:
        truth = specs.artifacts.truth[box.slices]
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        crops.append(Crop((z0, z1), (y0, y1), (x0, x1), float(truth.mean())))
        profiles += sum(ndimage.label(section, _EIGHT_CONNECTED)[1] for section in truth)
        pixels += truth.size
    return InitialLabels(tuple(crops), pixels, profiles)


def _pool(campaign: Campaign) -> Pool:
    specs, candidates = campaign.specs, campaign.start.candidates
    covered = np.zeros(specs.train.stop[1:], bool)
    for column in specs.columns:
        covered[column.slices[1:]] = True
    correct = int(candidates.correct.sum())
    return Pool(
        candidates=len(candidates),
        correct=correct,
        correct_share=wilson(correct, len(candidates)),
        threshold=specs.settings.threshold,
        minimum_pixels=specs.settings.minimum_pixels,
        excluded_columns_share=float(covered.mean()),
    )


def _models(campaign: Campaign) -> list[str]:
    turns = [turn for result in campaign.arms for turn in result.arm.rounds]
    return list(dict.fromkeys(turn.model for turn in turns))


def _own_label_accuracy(store: ObjectStore, models: Iterable[str]) -> dict[str, float]:
    found = {}
    for model in models:
        name, _, number = model.partition("/")
        folder = model_version_folder(name, int(number))
        metrics = json.loads(store.read(f"{folder}/lineage.json")).get("metrics", {})
        if "own_label_accuracy" in metrics:
            found[model] = float(metrics["own_label_accuracy"])
    return found


def _versions() -> dict[str, str]:
    found = {
        "Parfocal": __version__,
        "Python": platform.python_version(),
        "System": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    return found


def _command(settings: Settings, out: str) -> str:
    words = ["parfocal", "demo", "--out", out]
    if settings.images is not None:
        words += ["--images", str(settings.images), "--truth", str(settings.truth)]
    words += ["--split", ",".join(f"{share:g}" for share in settings.split)]
    words += ["--rounds", str(settings.rounds), "--budget", str(settings.budget)]
    words += ["--seed", str(settings.seed)]
    return shlex.join(words)


def _notes(campaign: Campaign) -> Iterable[str]:
    for result in campaign.arms:
        for name, status in zip(result.names, result.statuses, strict=True):
            yield from (f"Round {name}: {note}." for note in status.notes)
    if campaign.specs.settings.error_rate:
        yield f"The oracle errs on a share of {campaign.specs.settings.error_rate:g} on purpose."
