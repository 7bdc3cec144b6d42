"""The dashboard and the alert of lift, asked of a Prometheus that looks at a loop at work."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loop_lab import FALSE, PROJECT, TRUE, apart, spec_of
from parfocal.labels.v1 import query_pb2
from prometheus_process import SECONDS, Query, prometheus, require
from running_loop import looping, of

MONITORING = Path(__file__).parents[3] / "k8s/monitoring"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "lift-dashboard.json").read_text())


@asynccontextmanager
async def half_labelled(folder: Path) -> AsyncIterator[Query]:
    """A Prometheus that sees a round of which half is answered."""
    program = require("prometheus")
    async with looping(folder) as loop:
        candidates = loop.lab.write_set("set", apart(40))
        queries = await loop.begin("r1", spec_of(candidates, budget=20, random_share=0.5))
        chosen = of(queries, query_pb2.QUERY_ROLE_STRATEGY)
        drawn = of(queries, query_pb2.QUERY_ROLE_RANDOM)
        half = {query.candidate: FALSE if n < 4 else TRUE for n, query in enumerate(chosen[:5])} | {
            query.candidate: FALSE if n < 2 else TRUE for n, query in enumerate(drawn[:5])
        }
        await loop.answer_at_once(queries, half)
        target = f"127.0.0.1:{loop.metrics_port}"
        with prometheus(program, folder, target, {"pod": "loop"}) as ask:
            yield ask


def test_every_panel_is_filled_while_people_work(tmp_path: Path) -> None:
    async def test() -> None:
        async with half_labelled(tmp_path) as ask:
            for panel in DASHBOARD["panels"]:
                for target in panel["targets"]:
                    await seen(ask, target["expr"].replace("$project", PROJECT))
            (lift,) = await asyncio.to_thread(ask, "parfocal_round_lift")

            assert float(lift["value"][1]) == pytest.approx(2)
            assert lift["metric"]["round"] == "r1"

    asyncio.run(test())


async def seen(ask: Query, text: str) -> None:
    """Return when a query finds something."""
    end = time.monotonic() + SECONDS
    while not await asyncio.to_thread(ask, text):
        assert time.monotonic() < end, f"nothing of {text}"
        await asyncio.sleep(0.1)


def test_the_alert_tells_of_a_strategy_that_is_worse_than_random() -> None:
    done = subprocess.run(
        [require("promtool"), "test", "rules", str(MONITORING / "lift-rules-test.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
