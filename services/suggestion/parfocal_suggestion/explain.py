"""In words, why a candidate was or was not chosen, from what was stored with the selection."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table
from parfocal_suggestion.archive import Record, load
from parfocal_suggestion.pool import Ids, named
from parfocal_suggestion.strategies import STRATEGIES


@dataclass(frozen=True)
class Explanation:
    """Why one candidate was, or was not, chosen.

    Attributes:
        candidate: The candidate.
        chosen: Whether it was chosen.
        text: One or two sentences.
        reason: The same as a JSON object.
    """

    candidate: int
    chosen: bool
    text: str
    reason: str


def explain(store: ObjectStore, project: str, selection: str, candidates: Ids) -> list[Explanation]:
    """Explain candidates in the order asked, or all picks by rank if none is named.

    Raises:
        NotFound: If there is no such selection (`ERROR_REASON_SELECTION_NOT_FOUND`).
        InvalidInput: If a candidate is not in its pool (`ERROR_REASON_INVALID_FIELD`).
    """
    stored = load(store, project, selection)
    picks = {pick["candidate"]: pick for pick in stored.picks.to_pylist()}
    cells = read_table(store, stored.record.cells)
    wanted = candidates if len(candidates) else stored.picks.column("candidate").to_numpy()
    known = cells.column("candidate").to_numpy()
    unknown = np.setdiff1d(wanted, known)
    if len(unknown):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"candidates names ids that are not in the pool: {named(unknown)}",
            field="candidates",
            value=named(unknown),
        )
    rows = cells.take(np.searchsorted(known, wanted)).to_pylist()
    return [
        _chosen(stored.record, picks[row["candidate"]])
        if row["candidate"] in picks
        else _not_chosen(stored.record, row, stored.picks)
        for row in rows
    ]


def _chosen(record: Record, pick: dict[str, object]) -> Explanation:
    reason = json.loads(str(pick["reason"]))
    if pick["role"] == "random":
        text = _drawn(record)
    elif "chosen_by" in reason:
        text = f"Rank {pick['rank']}, chosen by its part {reason['chosen_by']}."
        if "score" in reason:
            text += f" Its score there is {reason['score']:g}."
    elif "cell" in reason:
        text = (
            f"Represents cell {reason['cell']} of {reason['cell_size']} candidates; "
            f"{reason['distance']:g} from its centre."
        )
    else:
        text = f"Rank {pick['rank']} by {STRATEGIES[record.strategy].summary}."
        if "score" in reason:
            text += f" Its {STRATEGIES[record.strategy].score} is {reason['score']:g}."
    text += _parts(reason) + _neighbour(reason)
    return Explanation(_candidate(pick), True, text, str(pick["reason"]))


def _drawn(record: Record) -> str:
    text = f"Drawn at random before {record.strategy} chose"
    if record.random_weights:
        text += f", with a chance that goes by {record.random_weights['measure']}"
    if record.constraints:
        text += ", as far as the constraints admit"
    if record.random_weights or record.constraints:
        return f"{text}, from {record.pool} candidates."
    return f"{text}, as part of the unbiased sample of {record.pool} candidates."


def _parts(reason: dict[str, dict[str, float]]) -> str:
    parts = ", ".join(f"{name} {score:g}" for name, score in reason.get("parts", {}).items())
    return f" It is made of {parts}." if parts else ""


def _neighbour(reason: dict[str, dict[str, object]]) -> str:
    nearest = reason.get("nearest_labelled")
    if nearest is None:
        return ""
    return (
        f" The nearest labelled candidate is {nearest['candidate']} ({nearest['verdict']}), "
        f"{nearest['distance']:g} away."
    )


def _not_chosen(record: Record, row: dict[str, object], picks: pa.Table) -> Explanation:
    reason = {"strategy": record.strategy, "version": record.version, "state": row["state"]}
    if row["state"] == "labelled":
        text = f"Not chosen: it was labelled {row['verdict']} already."
    elif row["state"] == "excluded":
        text = "Not chosen: it was excluded by the caller."
    elif limit := row.get("limit"):
        reason |= {"limit": limit}
        text = f"Not chosen: {limit}."
    elif row["cell"] != -1:
        others = picks.filter(pc.equal(picks.column("cell"), row["cell"]))
        asked = others.column("candidate").to_numpy()
        reason |= {"cell": row["cell"], "cluster": row["cluster"], "represented_by": asked.tolist()}
        text = f"Not chosen: its cell {row['cell']} is represented by {named(asked) or 'nobody'}."
    else:
        text = f"Not chosen: {len(picks)} others came before it by {_summary(record)}."
    return Explanation(_candidate(row), False, text, json.dumps(reason))


def _summary(record: Record) -> str:
    return STRATEGIES[record.strategy].summary


def _candidate(row: dict[str, object]) -> int:
    return int(str(row["candidate"]))
