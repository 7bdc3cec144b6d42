"""Lift, pooled accuracy and stopping advice of rounds, through the service and its real peers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import parfocal_loop
from loop_lab import (
    FALSE,
    PARENT,
    PROJECT,
    TRUE,
    UNSURE,
    LoopLab,
    apart,
    loop_lab,
    spec_of,
)
from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.labels.v1 import labels_service_pb2 as labels
from parfocal.labels.v1 import project_pb2, query_pb2
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.suggestion.v1 import selection_pb2, suggestion_service_pb2
from parfocal_loop.consensus import CLASSES, UNREACHABLE, answers
from parfocal_loop.lift import lift_of
from parfocal_loop.live_rounds import LiveRounds
from parfocal_loop.peers import Address, Addresses, Peers
from parfocal_loop.schema import VERSION_TABLE
from parfocal_loop.works import WorkKey, WorkStore
from parfocal_runtime.database import Database, migrate
from running_loop import Loop, leased, looping, of

MIGRATIONS = Path(parfocal_loop.__file__).parent / "migrations"
MITO, BETTER, BEST = (artifacts.ModelVersion(name="mito", version=n) for n in (1, 2, 3))


def run(folder: Path, test: Callable[[Loop], Awaitable[None]]) -> None:
    async def with_a_loop() -> None:
        async with looping(folder) as loop:
            await test(loop)

    asyncio.run(with_a_loop())


def in_the_lab(folder: Path, test: Callable[[LoopLab], Awaitable[None]]) -> None:
    async def without_a_loop() -> None:
        async with loop_lab(folder) as lab:
            await test(lab)

    asyncio.run(without_a_loop())


def test_lift_is_there_while_people_work_and_stays_when_they_are_done(tmp_path: Path) -> None:
    async def test(loop: Loop) -> None:
        folder = loop.lab.write_set("set", apart(40))
        queries = await loop.begin("r1", spec_of(folder, budget=20, random_share=0.4))
        chosen = of(queries, query_pb2.QUERY_ROLE_STRATEGY)
        drawn = of(queries, query_pb2.QUERY_ROLE_RANDOM)
        nothing = (await loop.get("r1")).status

        await loop.answer(chosen[:6], FALSE)
        await loop.answer(chosen[6:8], TRUE)
        await loop.answer(drawn[:1], FALSE)
        await loop.answer(drawn[1:4], TRUE)
        await loop.answer(drawn[4:5], UNSURE)
        halfway = (await loop.get("r1")).status
        await loop.answer([*chosen[8:], *drawn[5:]], TRUE)
        done = (await loop.done("r1")).status

        assert nothing.lift.ratio.undefined_reason == "no label in this share"
        assert math.isnan(nothing.lift.difference.value)
        assert nothing.pool == 40
        lift = halfway.lift
        assert (lift.strategy.labels, lift.strategy.wrong) == (8, 6)
        assert (lift.random.labels, lift.random.wrong, lift.random.unsure) == (4, 1, 1)
        assert lift.ratio.value == pytest.approx(3)
        assert lift.difference.lower < lift.difference.value == 0.5 < lift.difference.upper
        assert (lift.decided, lift.queries, lift.complete) == (13, 20, False)
        assert (halfway.accuracy.accuracy, halfway.accuracy.labels) == (0.75, 4)
        assert (done.lift.decided, done.lift.complete) == (20, True)
        assert done.lift.strategy.rate.value == 0.5
        assert done.accuracy.accuracy == pytest.approx(1 - done.lift.random.rate.value)

    run(tmp_path, test)


def test_a_label_that_is_taken_back_counts_no_longer(tmp_path: Path) -> None:
    async def test(loop: Loop) -> None:
        folder = loop.lab.write_set("set", apart(12))
        queries = await loop.begin("r1", spec_of(folder, budget=8, random_share=0.5))
        await loop.answer(queries[:6], FALSE)
        before = (await loop.get("r1")).status.lift.decided

        peer = loop.lab.means.peers.labels
        given = await peer.ListLabels(labels.ListLabelsRequest(parent=PARENT))
        await peer.RetractLabel(labels.RetractLabelRequest(name=given.labels[0].name))

        assert before == 6
        assert (await loop.get("r1")).status.lift.decided == 5

    run(tmp_path, test)


def test_without_the_labels_service_the_round_still_answers_and_says_why(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        spec = spec_of(lab.write_set("set", apart(8)), random_share=0.5)
        key = WorkKey(PROJECT, "round", "r1")
        status = rounds.RoundStatus(
            state=artifacts.WORK_STATE_RUNNING,
            stage=rounds.ROUND_STAGE_LABEL,
            selection=f"{PARENT}/selections/r1",
            decided=3,
        )
        database = Database(f"sqlite:///{tmp_path / 'loop.sqlite'}")
        await migrate(database, MIGRATIONS, version_table=VERSION_TABLE)
        works = WorkStore(database)
        await works.create(key, spec=spec.SerializeToString(), status=status.SerializeToString())
        nobody = Address("127.0.0.1:1", token="")
        peers = Peers(Addresses(nobody, nobody, nobody, nobody, nobody))

        each = await LiveRounds(works, peers).get(key)

        await peers.close()
        await database.close()
        assert each.status.decided == 3
        assert each.status.lift.ratio.undefined_reason == UNREACHABLE
        assert math.isnan(each.status.accuracy.accuracy)
        assert each.status.accuracy.undefined_reason == UNREACHABLE
        assert each.status.stopping_advice.verdict == rounds.STOPPING_VERDICT_TOO_EARLY

    in_the_lab(tmp_path, test)


def test_rounds_of_one_model_are_pooled_and_three_models_give_advice(tmp_path: Path) -> None:
    async def test(loop: Loop) -> None:
        # Right ones among the random eight of each round, and the model that proposed.
        plan = {"r1": (MITO, 2), "r2": (MITO, 4), "r3": (BETTER, 5), "r4": (BEST, 8)}
        folder = loop.lab.write_set("set", apart(100))
        seen: dict[str, rounds.RoundStatus] = {}
        for name, (model, right) in plan.items():
            spec = spec_of(
                folder,
                budget=16,
                random_share=0.5,
                base_model=model,
                history=list(seen),
                stopping=rounds.StoppingRule(minimum_gain=0.02),
            )
            queries = await loop.begin(name, spec)
            drawn = of(queries, query_pb2.QUERY_ROLE_RANDOM)
            await loop.answer(drawn[:right], TRUE)
            await loop.answer(drawn[right:], FALSE)
            await loop.answer(of(queries, query_pb2.QUERY_ROLE_STRATEGY), TRUE)
            seen[name] = (await loop.done(name)).status

        pooled = seen["r2"].pooled_accuracy
        assert (pooled.right, pooled.labels) == (6, 16)
        # Round 1 chose from 100 candidates, round 2 from the 84 that were left.
        assert pooled.accuracy == pytest.approx((100 * 2 / 8 + 84 * 4 / 8) / 184)
        assert pooled.upper - pooled.lower < seen["r2"].accuracy.upper - seen["r2"].accuracy.lower
        early, advice = seen["r3"].stopping_advice, seen["r4"].stopping_advice
        assert early.verdict == rounds.STOPPING_VERDICT_TOO_EARLY
        assert early.text == (
            "Too early to say: it takes 3 models measured on random shares; so far: 2."
        )
        assert math.isnan(early.gain_per_hundred_labels.value)
        assert advice.verdict == rounds.STOPPING_VERDICT_GO_ON
        assert advice.text.startswith("Go on")
        assert [(one.model, one.labels) for one in advice.models] == [
            (MITO, 0),
            (BETTER, 32),
            (BEST, 48),
        ]
        assert [one.accuracy.labels for one in advice.models] == [16, 8, 8]
        assert (advice.labels, advice.minimum_gain) == (64, 0.02)
        gain = advice.gain_per_hundred_labels
        assert gain.lower < gain.value < gain.upper
        assert 0 < advice.worthwhile_probability < 1

    run(tmp_path, test)


def test_answers_drawn_with_unequal_chances_count_for_what_they_stand_for(tmp_path: Path) -> None:
    async def test(loop: Loop) -> None:
        weights = selection_pb2.RandomWeights(measure="mean_probability", strength=0.9)
        spec = spec_of(
            loop.lab.write_set("set", apart(30)),
            budget=16,
            random_share=0.5,
            random_weights=weights,
        )
        queries = await loop.begin("r1", spec)
        drawn = of(queries, query_pb2.QUERY_ROLE_RANDOM)
        await loop.answer(drawn[:3], FALSE)
        await loop.answer(drawn[3:], TRUE)
        await loop.answer(of(queries, query_pb2.QUERY_ROLE_STRATEGY), TRUE)
        status = (await loop.done("r1")).status
        request = suggestion_service_pb2.GetSelectionRequest(name=status.selection)
        selection = await loop.lab.means.peers.suggestion.GetSelection(request)

        counts = {one.candidate: 1 / one.inclusion_probability for one in selection.picks}
        wrong = sum(counts[query.candidate] for query in drawn[:3])
        every = sum(counts[query.candidate] for query in drawn)
        assert selection.random_weights == weights
        assert status.lift.random.rate.value == pytest.approx(wrong / every)
        assert status.lift.random.rate.value != pytest.approx(3 / 8, abs=1e-4)
        assert status.accuracy.accuracy == pytest.approx(1 - wrong / every)
        assert 0 < status.accuracy.effective_labels < 8
        assert status.lift.strategy.rate.value == 0

    run(tmp_path, test)


def test_classes_have_no_lift_and_say_why(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        peer = lab.means.peers.labels
        project = project_pb2.Project(
            task_kind=project_pb2.TASK_KIND_CLASSIFY, classes=["yes", "no"], votes_needed=1
        )
        await peer.CreateProject(labels.CreateProjectRequest(project_id="classes", project=project))
        parent = "projects/classes"
        queries = [
            query_pb2.Query(round="r", candidate_set="set", candidate=one, rank=one)
            for one in range(2)
        ]
        await peer.AddQueries(labels.AddQueriesRequest(parent=parent, queries=queries))
        given = [
            labels.Answer(query=each.name, class_name="yes")
            for each in await leased(lab, parent, "r")
        ]
        await peer.SubmitLabels(
            labels.SubmitLabelsRequest(
                parent=parent, answers=given, request_id="1", client="test/1"
            )
        )

        lift = lift_of(await answers(lab.means.peers, parent, "r"), level=0.95)

        assert lift.ratio.undefined_reason == CLASSES

    in_the_lab(tmp_path, test)
