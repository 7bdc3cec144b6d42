"""ROI verification on pack A from its pictures to its tables, in one command.

python -m parfocal_bench.verification_report --data-packs FOLDER
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from parfocal import ConflictError
from parfocal_bench.proposals import Proposals, make_proposals
from parfocal_bench.verification import (
    CONTROL,
    FORMULA,
    METHODS,
    SHARES,
    at_least,
    verify,
)
from parfocal_demo.intervals import Measure, mean_over_seeds, paired_difference
from parfocal_demo.settings import Folder, Settings

PACK = "A_em_drosophila_vnc"
LEAST_PIXELS = (100, 150, 200, 250, 300)
"""The least area is the first of these with at least `LEAST_RIGHT` of the proposals right."""
LEAST_RIGHT = 0.5

Results = dict[tuple[str, int, float], dict[str, float]]
"""What was measured by method, seed and share of labels."""


@dataclass(frozen=True)
class Base:
    """One base model with its encoders, and what came out.

    Attributes:
        seed: Seed of its training.
        pixels: Least area of a proposal.
        proposals: The proposals.
        results: What each method reached.
    """

    seed: int
    pixels: int
    proposals: Proposals
    results: Results

    def curve(self, method: str, share: float, value: str = "accuracy") -> list[float]:
        """Return one value by seed."""
        seeds = sorted({seed for _, seed, _ in self.results})
        return [self.results[method, seed, share][value] for seed in seeds]


def settings(pack: Path, *, seed: int, sections: int, iterations: tuple[int, int]) -> Settings:
    """Return how the proposals of pack A are made: crops in its development part, at half size."""
    stack = pack / "stack1"
    return Settings(
        images=stack / "raw",
        truth=stack / "mitochondria",
        voxel_size_nm=(50.0, 4.6, 4.6),
        split=(0.625, 0.6875),
        crop_shape=(sections, 128, 128),
        threshold=0.5,
        augmentation=8,
        minimum_pixels=LEAST_PIXELS[0],
        base_iterations=iterations[0],
        encoder_iterations=iterations[1],
        seed=seed,
    )


def proposals_of(
    asked: Settings, folder: Path, console: Console, *, keep_columns: bool
) -> Proposals:
    """Read the proposals of a base model, or make them; ten minutes of one core.

    Raises:
        ConflictError: If the folder has those of other settings, whole or begun.
    """
    Folder(folder).claim(asked)
    kept = folder / "proposals.npz"
    if not kept.exists():
        make_proposals(asked, folder, console, keep_columns=keep_columns).save(kept)
    return Proposals.load(kept)


def measure(proposals: Proposals, *, seed: int, seeds: int) -> Base:
    """Run every method on the proposals of a base model.

    Args:
        proposals: All proposals.
        seed: Seed of the base model.
        seeds: Seeds of subsample and labels, from 0.
    """
    pixels = least_pixels(proposals)
    kept = at_least(proposals, pixels)
    results: Results = {}
    for method in METHODS:
        for turn in range(seeds):
            for share, row in zip(SHARES, verify(kept, method, turn), strict=True):
                results[method, turn, share] = {**row.values, "labels": row.labels}
    return Base(seed, pixels, kept, results)


def least_pixels(proposals: Proposals) -> int:
    """Return the least area from which on enough of the proposals are right."""
    for pixels in LEAST_PIXELS:
        if np.mean(at_least(proposals, pixels).correct) >= LEAST_RIGHT:
            return pixels
    return LEAST_PIXELS[-1]


def tables(bases: Sequence[Base]) -> Iterator[str]:
    """Yield the tables of the page, Markdown."""
    yield (
        "| base model | least pixels | proposals | right | profiles covered | "
        + " | ".join(f"labels, {share:.0%}" for share in SHARES)
        + " |"
    )
    yield "|---" * (5 + len(SHARES)) + "|"
    for base in bases:
        found = base.proposals
        labels = [f"{base.curve(CONTROL, share, 'labels')[0]:.0f}" for share in SHARES]
        yield (
            f"| {base.seed} | {base.pixels} | {len(found)} | {found.correct.mean():.3f} | "
            f"{found.recall:.2f} | {' | '.join(labels)} |"
        )
    for reference in (None, FORMULA, CONTROL):
        yield ""
        yield _heading(reference)
        yield ""
        yield (
            "| method | "
            + " | ".join(f"{base.seed}: {share:.0%}" for base in bases for share in SHARES)
            + " |"
        )
        yield "|---" * (1 + len(bases) * len(SHARES)) + "|"
        for method in METHODS:
            cells = [_cell(base, method, reference, share) for base in bases for share in SHARES]
            yield f"| {method} | {' | '.join(cells)} |"
    yield ""
    yield "The learned model about itself, means over the seeds"
    yield ""
    yield (
        "| | "
        + " | ".join(f"{base.seed}: {share:.0%}" for base in bases for share in SHARES)
        + " |"
    )
    yield "|---" * (1 + len(bases) * len(SHARES)) + "|"
    for value in [name for name in bases[0].results["learned", 0, SHARES[0]] if name != "labels"]:
        means = (
            np.nanmean(base.curve("learned", share, value)) for base in bases for share in SHARES
        )
        yield f"| {value} | {' | '.join(f'{mean:.3f}' for mean in means)} |"


def _heading(reference: str | None) -> str:
    if reference is None:
        return "Accuracy, mean over the seeds"
    return f"Minus `{reference}`, paired by seed, with Student's 95 % interval"


def _cell(base: Base, method: str, reference: str | None, share: float) -> str:
    values = base.curve(method, share)
    if reference is None:
        return f"{mean_over_seeds(values).value:.3f}"
    if method == reference:
        return ""
    found: Measure = paired_difference(values, base.curve(reference, share))
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def plot(bases: Sequence[Base], path: Path) -> None:
    """Draw accuracy over labels, one panel for each base model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(bases), 3.6), layout="constrained")
    panels = figure.subplots(1, len(bases), sharey=True, squeeze=False)[0]
    for panel, base in zip(panels, bases, strict=True):
        for method in METHODS:
            found = [mean_over_seeds(base.curve(method, share)) for share in SHARES]
            middle = np.array([each.value for each in found])
            ends = [middle - [each.low for each in found], [each.high for each in found] - middle]
            percent = [100 * share for share in SHARES]
            panel.errorbar(percent, middle, yerr=ends, marker="o", capsize=2, label=method)
        panel.set_title(
            f"base model {base.seed}: {len(base.proposals)} proposals, "
            f"{base.proposals.correct.mean():.2f} right",
            fontsize=9,
        )
        panel.set_xlabel("labels, % of the proposals")
    panels[0].set_ylabel("accuracy")
    panels[-1].legend(fontsize=6)
    figure.savefig(path, metadata={"Date": None})


def write_rows(bases: Sequence[Base], path: Path) -> None:
    """Write every row: base model, method, seed, share, labels and what was measured."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["base", "method", "seed", "share", "labels", "accuracy"])
        for base in bases:
            for (method, seed, share), found in base.results.items():
                row = [base.seed, method, seed, share, found["labels"], found["accuracy"]]
                writer.writerow(row)


def main() -> None:
    """Make, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-packs", type=Path, required=True, help="folder of the data packs")
    parser.add_argument("--out", type=Path, default=Path("runs/rois"), help="folder of results")
    parser.add_argument("--bases", type=int, nargs="+", default=[0, 1, 2], help="their seeds")
    parser.add_argument("--seeds", type=int, default=10, help="subsamples of each base model")
    parser.add_argument("--sections", type=int, default=1, help="sections of each labelled crop")
    parser.add_argument(
        "--iterations", type=int, nargs=2, default=[1500, 600], help="of base model and encoders"
    )
    parser.add_argument(
        "--keep-columns",
        action="store_true",
        help="keep proposals in other sections of the crops' columns, whose objects the base "
        "model was trained on: only to compare with figures that were found so",
    )
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    bases = []
    for seed in asked.bases:
        how = settings(
            asked.data_packs / PACK,
            seed=seed,
            sections=asked.sections,
            iterations=(asked.iterations[0], asked.iterations[1]),
        )
        folder = asked.out / f"base-{seed}{'-columns' if asked.keep_columns else ''}"
        try:
            proposals = proposals_of(how, folder, console, keep_columns=asked.keep_columns)
        except ConflictError as error:
            raise SystemExit(str(error)) from None
        bases.append(measure(proposals, seed=seed, seeds=asked.seeds))
    text = "\n".join(tables(bases))
    (asked.out / "tables.md").write_text(text + "\n", encoding="utf-8")
    write_rows(bases, asked.out / "rows.csv")
    plot(bases, asked.out / "accuracy.svg")
    print(text)


if __name__ == "__main__":
    main()
