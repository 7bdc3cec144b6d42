"""Arbitrary messages to every method of the service, from every kind of caller."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from label_databases import Engine, Postgresql, Sqlite
from odd_messages import Vocabulary, messages
from parfocal.labels.v1 import label_pb2, project_pb2, query_pb2
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1 import labels_service_pb2_grpc as pb_grpc
from parfocal_labels.app import NAME
from parfocal_labels.config import LabelsConfig
from parfocal_labels.metrics import LabelMetrics
from parfocal_labels.servicer import LabelsServicer
from parfocal_labels.store import LabelStore
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.database import Database
from parfocal_runtime.server import Service, serving_in_thread
from parfocal_runtime.store import open_store
from proofs import amount, long_running

METHODS = list(pb.DESCRIPTOR.services_by_name["LabelsService"].methods)
BATCH = 8
# By how often they call.
CALLERS = [*["cur", "ada"] * 3, *["own", "bob", "root"] * 2, "vic", "nobody", "stranger"]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROJECTS = ("vnc", "kinds", "blind")
Code = grpc.StatusCode
REFUSED = {
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.ALREADY_EXISTS,
    Code.PERMISSION_DENIED,
    Code.UNAUTHENTICATED,
    Code.FAILED_PRECONDITION,
    Code.ABORTED,
    Code.RESOURCE_EXHAUSTED,
}
HANGS_AFTER = 20.0
# A watch that is not told to end is left after this.
WATCHED = 0.1


class Current:
    """The store that the service stands on, another one for every example."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._objects = open_store(folder.as_uri())
        self.renew()

    def renew(self) -> None:
        self._store = LabelStore(self._database, self._objects, clock=lambda: NOW)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@dataclass(frozen=True)
class Call:
    """Who calls what."""

    caller: str
    method: Any
    request: Any

    def __repr__(self) -> str:
        return f"{self.caller}: {self.method.name}({str(self.request)[:2000]})"


@dataclass
class Target:
    """The service at work, with callers of every kind."""

    engine: Engine
    objects: Path
    current: Current
    stubs: dict[str, Any]
    words: dict[str, list[Vocabulary]] = field(default_factory=dict)
    codes: Counter[tuple[str, Code]] = field(default_factory=Counter)

    def begin(self) -> None:
        self.engine.put_back()
        self.current.renew()

    def state(self) -> object:
        files = [(folder, sorted(names)) for folder, _, names in os.walk(self.objects) if names]
        return self.engine.digest(), sorted(files)

    def never_through(self) -> list[Any]:
        """The methods of which no call was answered so far."""
        return [each for each in METHODS if not self.codes[each.name, Code.OK]]

    def make(self, call: Call) -> Code:
        method, request = call.method, call.request
        is_endless = method.server_streaming and not request.until_present
        try:
            answer = getattr(self.stubs[call.caller], method.name)(
                request, timeout=WATCHED if is_endless else HANGS_AFTER
            )
            if method.server_streaming:
                list(answer)
        except grpc.RpcError as error:
            code: Code = error.code()
            if is_endless and code is Code.DEADLINE_EXCEEDED:
                return Code.OK
            if code not in REFUSED or not domain_error(error).reason.startswith("ERROR_REASON_"):
                raise AssertionError(f"{code.name} to {call}") from error
            return code
        return Code.OK


def query(number: int, **values: Any) -> query_pb2.Query:
    return query_pb2.Query(
        round=f"r{number % 2}", candidate_set="set", candidate=number, rank=number, **values
    )


def answered(stub: Any, parent: str, names: list[str], **answer: Any) -> list[str]:
    answers = [pb.Answer(query=name, **answer) for name in names]
    request = pb.SubmitLabelsRequest(parent=parent, answers=answers, request_id="a")
    return [label.name for label in stub.SubmitLabels(request).labels]


def leased(stub: Any, parent: str, count: int) -> list[str]:
    request = pb.LeaseQueriesRequest(parent=parent, count=count)
    return [each.query.name for each in stub.LeaseQueries(request).queries]


def fill(stubs: dict[str, Any]) -> None:
    """Projects with something in every state."""
    verify, classify = project_pb2.TASK_KIND_VERIFY, project_pb2.TASK_KIND_CLASSIFY
    rules: dict[str, dict[str, Any]] = {
        "vnc": {"task_kind": verify, "votes_needed": 2},
        "kinds": {
            "task_kind": classify,
            "classes": ["x", "y"],
            "votes_needed": 2,
            "consensus_rule": project_pb2.CONSENSUS_RULE_DAWID_SKENE,
        },
        "blind": {"task_kind": verify, "blind": True, "gold_share": 0.5, "repeat_share": 0.25},
    }
    cur = stubs["cur"]
    for name in PROJECTS:
        parent = f"projects/{name}"
        answer: dict[str, Any] = {"verdict": label_pb2.VERDICT_TRUE}
        gold: dict[str, Any] = {"gold_verdict": label_pb2.VERDICT_TRUE}
        if name == "kinds":
            answer, gold = {"class_name": "x"}, {"gold_class_name": "x"}
        project = project_pb2.Project(**rules[name])
        cur.CreateProject(pb.CreateProjectRequest(project_id=name, project=project))
        queries = [query(number) for number in range(9)]
        queries += [query(9, skill="axons"), query(10, role=query_pb2.QUERY_ROLE_GOLD, **gold)]
        cur.AddQueries(pb.AddQueriesRequest(parent=parent, queries=queries))
        for who in ("ada", "bob"):
            labels = answered(stubs[who], parent, leased(stubs[who], parent, 3), **answer)
            leased(stubs[who], parent, 2)
        stubs["bob"].RetractLabel(pb.RetractLabelRequest(name=labels[0]))
        decided = pb.Answer(query=queries_of(cur, parent)[7], **answer)
        cur.AdjudicateQuery(pb.AdjudicateQueryRequest(answer=decided, request_id="a"))
        skill = project_pb2.Annotator(name=f"{parent}/annotators/ada", skills=["axons"])
        cur.UpdateAnnotator(pb.UpdateAnnotatorRequest(annotator=skill))


def queries_of(stub: Any, parent: str) -> list[str]:
    return [each.name for each in stub.ListQueries(pb.ListQueriesRequest(parent=parent)).queries]


def vocabularies(stubs: dict[str, Any]) -> dict[str, list[Vocabulary]]:
    """What fields may hold that means something to a caller, of one project after the other."""
    cur = stubs["cur"]
    found: dict[str, list[Vocabulary]] = {caller: [] for caller in stubs}
    for project in PROJECTS:
        parent = f"projects/{project}"
        queries = queries_of(cur, parent)
        held = {who: renewed(stubs[who], parent, queries) for who in ("ada", "bob")}
        snapshot = cur.CreateSnapshot(pb.CreateSnapshotRequest(parent=parent)).name
        labels = [f"{parent}/labels/{number}" for number in range(1, 9)]
        annotators = [f"{parent}/annotators/{who}" for who in ("ada", "new")]
        tokens = page_tokens(cur, parent)
        odd = ["projects/none", f"{parent}/queries/0", f"{parent}/labels/{10**17}", *OTHERS]
        right: dict[str, list[Any]] = {
            "parent": [parent],
            "name": labels,
            "GetProjectRequest.name": [parent],
            "ExportSnapshotRequest.name": [snapshot],
            "project.name": [parent],
            "model.name": ["m"],
            "annotator.name": annotators,
            "project_id": [project, "new"],
            "page_token": [""],
            **{name: ["", token] for name, token in tokens.items()},
            **RIGHT,
            **FITTING[project == "kinds"],
        }
        forged = {name: list(forgeries(token)) for name, token in tokens.items()}
        wrong = {**ODD, **forged, **dict.fromkeys(NAMING, odd)}
        for caller, words in found.items():
            own = held.get(caller) or [each for names in held.values() for each in names]
            words.append(Vocabulary({**right, **asking(queries, own)}, wrong))
    return found


def asking(queries: list[str], held: list[str]) -> dict[str, list[Any]]:
    """Words for fields that name queries."""
    some = [*queries, *held * 6]
    return {"query": some, "queries": some, "skips.query": held, "answers.query": held}


NAMING = ("parent", "name", "query", "queries")
OTHERS = ["projects/vnc/queries/1", "projects/kinds/labels/1", "projects/blind"]
ODD: dict[str, list[Any]] = {
    "reason": ["[" * 9000, '{"a":' * 2000, '"a"', '{"a": NaN, "b": 1e999, "c": "\\ud800"}'],
    "paths": ["none", "name", "create_time", "project.classes"],
    "nanos": [-1, 10**9, 2**31 - 1],
    "etag": ["0", "x", "9" * 40],
}
RIGHT: dict[str, list[Any]] = {
    "round": ["", "r1"],
    "query.round": ["r0", "r1"],
    "queries.round": ["r0", "r1"],
    "skips.reason": ["blurred"],
    "rounds": ["r0", "r1"],
    "candidate_set": ["set"],
    "candidate": [3, 20, 21],
    "gold_class_name": [""],
    "gold_verdict": [0],
    "role": [0, 1, 2],
    "request_id": ["b", "c", "a", "d"],
    "source": ["coco:x"],
    "reason": ['{"a": 1}', ""],
    "skills": ["axons"],
    "tags": ["blurred"],
    "etag": [""],
    "update_mask.paths": ["votes_needed", "skills", "blind"],
    "votes_needed": [1, 2, 3],
    "consensus_rule": [0, 2, 3],
    "votes_to_agree": [1],
    "ttl.seconds": [60],
    "nanos": [0],
    "until_present": [True],
    "gold_share": [0, 0.25],
    "repeat_share": [0, 0.25],
    **{f"start.{axis}": [0, 1] for axis in "zyx"},
    **{f"stop.{axis}": [2, 8] for axis in "zyx"},
    "version": [1],
}
FITTING: tuple[dict[str, list[Any]], ...] = (
    {"task_kind": [1], "classes": [], "verdict": [1, 2, 3], "class_name": [""]},
    {"task_kind": [2], "classes": ["x", "y", "z"], "verdict": [0], "class_name": ["x", "y"]},
)


def renewed(stub: Any, parent: str, queries: list[str]) -> list[str]:
    request = pb.RenewLeasesRequest(parent=parent, queries=queries)
    return list(stub.RenewLeases(request).queries)


def page_tokens(stub: Any, parent: str) -> dict[str, str]:
    """The token of the second page of every list, by the name of its field."""
    tokens = {}
    for method in METHODS:
        if "next_page_token" in method.output_type.fields_by_name:
            kind = method.input_type.name
            request = getattr(pb, kind)(page_size=1)
            if "parent" in method.input_type.fields_by_name:
                request.parent = parent
            tokens[f"{kind}.page_token"] = getattr(stub, method.name)(request).next_page_token
    return tokens


def forgeries(token: str) -> Iterator[str]:
    digest, *key = json.loads(base64.urlsafe_b64decode(token))
    oddities: list[Any] = [2**63, -(2**63), "\ud800", "\0", 1.5, None, [], 10**30]
    for odd in oddities:
        same_kind = [odd if type(part) is type(odd) else part for part in key]
        for content in ([digest, *same_kind], [digest, odd], [digest, *key, odd]):
            yield base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@contextmanager
def serving(engine: Engine, folder: Path) -> Iterator[Target]:
    tokens_file, objects = folder / "tokens", folder / "store"
    tokens = {"nobody": "", "stranger": "pf_unknown"}
    for name, role in (("vic", Role.VIEWER), ("ada", Role.ANNOTATOR), ("bob", Role.ANNOTATOR)):
        tokens[name] = write_token(tokens_file, name=name, role=role)
    tokens["cur"] = write_token(tokens_file, name="cur", role=Role.CURATOR)
    tokens["root"] = write_token(tokens_file, name="root", role=Role.ADMIN)
    own = {"vnc": Role.CURATOR, "blind": Role.ANNOTATOR}
    tokens["own"] = write_token(tokens_file, name="own", projects=own)
    config = LabelsConfig(port=0, store_uri=objects.as_uri(), tokens_file=str(tokens_file))
    database = Database(engine.dsn)
    objects.mkdir()
    current = Current(database, objects)
    servicer = LabelsServicer(cast(LabelStore, current), LabelMetrics())
    service = Service(
        names=(NAME,),
        register=lambda server: pb_grpc.add_LabelsServiceServicer_to_server(servicer, server),
        stop=database.close,
    )
    with ExitStack() as stack:
        server = stack.enter_context(serving_in_thread([service], config))
        stubs = {
            name: pb_grpc.LabelsServiceStub(
                stack.enter_context(sync_channel(server.address, token=token))
            )
            for name, token in tokens.items()
        }
        yield Target(engine, objects, current, stubs)


@pytest.fixture
def target(dsn: str, sqlite_template: Path, tmp_path: Path, run: Any) -> Iterator[Target]:
    engine: Engine
    if dsn.startswith("sqlite"):
        engine = Sqlite(Path(dsn.removeprefix("sqlite:///")))
    else:
        engine = Postgresql(dsn, run)
    with serving(engine, tmp_path) as target:
        fill(target.stubs)
        target.words = vocabularies(target.stubs)
        engine.keep_seed()
        yield target
    engine.close()


@st.composite
def calls(draw: Any, words: dict[str, list[Vocabulary]], methods: list[Any]) -> list[Call]:
    chosen = st.tuples(st.sampled_from(CALLERS), st.sampled_from(methods))
    return [
        Call(caller, method, draw(messages(method.input_type, words[caller])))
        for caller, method in draw(st.lists(chosen, min_size=BATCH, max_size=BATCH))
    ]


def attack(target: Target, methods: list[Any], *, examples: int) -> None:
    @settings(
        max_examples=examples,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(calls(target.words, methods))
    def attempt(batch: list[Call]) -> None:
        target.begin()
        state: object = None
        for call in batch:
            if state is None:
                state = target.state()
            code = target.make(call)
            target.codes[call.method.name, code] += 1
            if code is Code.OK:
                state = None
            else:
                assert target.state() == state, f"{code.name} to {call}"

    attempt()


@long_running
def test_no_message_breaks_the_service_or_changes_anything_where_it_is_refused(
    target: Target,
) -> None:
    examples = amount(850, all=4000) if isinstance(target.engine, Sqlite) else amount(400, all=2000)

    attack(target, METHODS, examples=examples)
    if unlucky := target.never_through():
        # Examples resemble each other, so all of a method's may be refused by chance.
        attack(target, unlucky, examples=200)

    done = Counter[Code]()
    for (_, code), count in target.codes.items():
        done[code] += count
    print("\n".join(f"{each.name}: {target.codes[each.name, Code.OK]}" for each in METHODS))
    print(f"{done.total()} calls:", {code.name: count for code, count in done.most_common()})
    assert not target.never_through()
    assert done.total() >= examples * BATCH
