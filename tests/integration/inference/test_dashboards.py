"""Queries that were written for Triton, asked of a Prometheus that looks at our service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from oip_requests import base_request
from onnx_graphs import base_model, base_model_card
from parfocal_inference.app import build
from parfocal_inference.config import InferenceConfig
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import LocalStore
from prometheus_process import SECONDS, Query, prometheus, require

ROOT = Path(__file__).parents[3]

# The panels of the dashboard that Triton's own charts bring (deploy/k8s-onprem/dashboard.json).
DASHBOARD = {
    "Active Triton Instances": "count(count(nv_inference_count) by (instance))",
    "Proportion of Requests by Pod": "sum by (pod) (rate(nv_inference_count[1m]))"
    " / ignoring(pod) group_left sum (rate(nv_inference_count[1m]))",
    "Cumulative Inference Requests by Pod": "sum(nv_inference_request_success) by (pod)",
    "Failures by Pod": "sum(nv_inference_request_failure) by (pod)",
    "Compute Time by Model": "sum(rate(nv_inference_compute_infer_duration_us[30s])) by (model)"
    " / 1000",
    "Average Queue Time by Pod": "avg(rate(nv_inference_queue_duration_us[30s])"
    "/(1+rate(nv_inference_request_success[30s]))) by (pod)",
}
# What SuperSONIC gives KEDA, here and with the label that its scrape adds.
AUTOSCALING = {
    "SuperSONIC": "sum(rate(nv_inference_queue_duration_us[30s]))"
    " / (sum(rate(nv_inference_exec_count[30s]))*1000 + 0.001)",
    "SuperSONIC by release": 'sum by (release) (rate(nv_inference_queue_duration_us{release=~"lab"}'
    '[15s])) / sum by (release) ((rate(nv_inference_exec_count{release=~"lab"}[15s]) * 1000)'
    " + 0.001)",
}
QUANTILES = {
    f"p90 of {stage}": "histogram_quantile(0.9, sum by (le, model) "
    f"(rate(nv_inference_{stage}_duration_histogram_us_bucket[30s])))"
    for stage in ("request", "queue", "compute_input", "compute_infer", "compute_output")
}


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Query]:
    """A Prometheus that has seen a service at work."""
    program = require("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    store = LocalStore(folder / "store")
    models = ModelRepository(store)
    models.publish("grey", base_model(), card=base_model_card(), lineage={})
    config = InferenceConfig(port=0, metrics_port=0, anonymous_role="viewer", session_threads=1)
    with (
        serving_in_thread([build(config, store)], config) as server,
        sync_channel(server.address) as channel,
        prometheus(
            program,
            folder,
            f"127.0.0.1:{server.metrics_port}",
            {"pod": "parfocal-inference-0", "release": "lab"},
        ) as ask,
    ):
        stub: Any = GRPCInferenceServiceStub(channel)
        end = time.monotonic() + SECONDS
        while not stub.ModelReady(pb.ModelReadyRequest(name="grey")).ready:
            assert time.monotonic() < end
            time.sleep(0.05)
        while not _rate(ask):
            assert time.monotonic() < end
            stub.ModelInfer(base_request(51, model="grey"), timeout=SECONDS)
        yield ask


def _rate(ask: Query) -> float:
    found = ask('rate(nv_inference_exec_count{model="grey"}[30s])')
    return float(found[0]["value"][1]) if found else 0.0


@pytest.mark.parametrize("panel", DASHBOARD)
def test_every_panel_of_tritons_dashboard_is_filled(query: Query, panel: str) -> None:
    found = query(DASHBOARD[panel])

    assert found
    assert all(float(each["value"][1]) >= 0 for each in found)


def test_one_instance_answers_all(query: Query) -> None:
    assert [each["value"][1] for each in query(DASHBOARD["Active Triton Instances"])] == ["1"]
    (share,) = query(DASHBOARD["Proportion of Requests by Pod"])
    assert share["metric"] == {"pod": "parfocal-inference-0"}
    assert float(share["value"][1]) == pytest.approx(1)


@pytest.mark.parametrize("name", [*AUTOSCALING, "ours"])
def test_the_queries_of_autoscalers_give_a_number(query: Query, name: str) -> None:
    queries = {**AUTOSCALING, "ours": keda_trigger()["query"]}

    (found,) = query(queries[name])

    assert float(found["value"][1]) >= 0


def test_the_manifest_scales_by_supersonics_query_and_threshold() -> None:
    trigger = keda_trigger()

    assert " ".join(trigger["query"].split()) == AUTOSCALING["SuperSONIC"]
    assert trigger["threshold"] == "100"


@pytest.mark.parametrize("name", QUANTILES)
def test_quantiles_come_from_the_histograms(query: Query, name: str) -> None:
    found = {each["metric"]["model"]: float(each["value"][1]) for each in query(QUANTILES[name])}

    assert found["grey"] > 0


def keda_trigger() -> dict[str, Any]:
    manifest = yaml.safe_load((ROOT / "k8s/components/keda/scaledobject.yaml").read_text())
    (trigger,) = manifest["spec"]["triggers"]
    metadata: dict[str, Any] = trigger["metadata"]
    return metadata
