from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, generate_latest

from parfocal_inference.joint_runs import StageTimes
from parfocal_inference.serving_metrics import InferenceStatistics, RunCounts, RunTimes


def exposed(statistics: InferenceStatistics) -> str:
    registry = CollectorRegistry()
    registry.register(statistics)
    return generate_latest(registry).decode()


def times(microseconds: int) -> RunTimes:
    return RunTimes(
        request_ns=4000 * microseconds,
        queue_ns=1000 * microseconds,
        compute_input_ns=500 * microseconds,
        compute_infer_ns=2000 * microseconds,
    )


def test_names_and_labels_are_tritons_with_no_total_at_the_end() -> None:
    statistics = InferenceStatistics(lambda: [])
    counted = statistics.of("base", 2)
    counted.succeeded(rows=3, times=times(10))
    counted.succeeded(rows=1, times=times(20))
    counted.ran(4, StageTimes(1, 2, 3))
    counted.queued = 5
    counted.failed("CANCELED")

    text = exposed(statistics)

    labels = '{model="base",version="2"}'
    for line in (
        f"nv_inference_request_success{labels} 2.0",
        f"nv_inference_count{labels} 4.0",
        f"nv_inference_exec_count{labels} 1.0",
        f"nv_inference_request_duration_us{labels} 120.0",
        f"nv_inference_queue_duration_us{labels} 30.0",
        f"nv_inference_compute_input_duration_us{labels} 15.0",
        f"nv_inference_compute_infer_duration_us{labels} 60.0",
        f"nv_inference_compute_output_duration_us{labels} 0.0",
        f"nv_inference_pending_request_count{labels} 0.0",
        f"parfocal_inference_queue_depth{labels} 5.0",
        'nv_inference_request_failure{model="base",reason="CANCELED",version="2"} 1.0',
        'nv_inference_request_failure{model="base",reason="BACKEND",version="2"} 0.0',
    ):
        assert line in text.splitlines()
    assert "_total" not in text


def test_times_lie_between_the_bounds_that_triton_takes() -> None:
    statistics = InferenceStatistics(lambda: [])
    counted = statistics.of("base", 2)
    counted.succeeded(rows=1, times=times(250))
    counted.succeeded(rows=1, times=times(500))

    text = exposed(statistics)

    def samples(name: str) -> dict[str, float]:
        lines = (line for line in text.splitlines() if line.startswith(f"{name}_bucket"))
        return {line.split('"')[1]: float(line.split()[-1]) for line in lines}

    assert samples("nv_inference_request_duration_histogram_us") == {
        "1000.0": 1,
        "5000.0": 2,
        "25000.0": 2,
        "50000.0": 2,
        "100000.0": 2,
        "+Inf": 2,
    }
    assert list(samples("nv_inference_queue_duration_histogram_us").values()) == [0, 2, 2, 2, 2, 2]
    assert samples("nv_inference_first_response_histogram_ms")["100.0"] == 2
    labels = '{model="base",version="2"}'
    assert f"nv_inference_request_duration_histogram_us_sum{labels} 3000.0" in text
    assert f"nv_inference_compute_infer_duration_histogram_us_count{labels} 2.0" in text


def test_runs_are_shown_by_their_rows() -> None:
    statistics = InferenceStatistics(lambda: [])
    for rows in (1, 3, 4, 200):
        statistics.of("base", 2).ran(rows, StageTimes(1, 2, 3))

    lines = exposed(statistics).splitlines()

    name = "parfocal_inference_run_rows"
    labels = 'model="base",version="2"'
    assert f"{name}_sum{{{labels}}} 208.0" in lines
    for bound, count in (("1.0", 1), ("2.0", 1), ("4.0", 3), ("128.0", 3), ("+Inf", 4)):
        assert f'{name}_bucket{{le="{bound}",{labels}}} {count}.0' in lines


def test_loaded_models_are_there_at_zero_before_the_first_request() -> None:
    text = exposed(InferenceStatistics(lambda: [("base", 1)]))

    assert 'nv_inference_request_success{model="base",version="1"} 0.0' in text


def test_a_request_is_pending_until_it_ends() -> None:
    statistics = InferenceStatistics(lambda: [])

    with statistics.of("base", 1).pending():
        during = exposed(statistics)

    pending = 'nv_inference_pending_request_count{model="base",version="1"} '
    assert f"{pending}1.0" in during
    assert f"{pending}0.0" in exposed(statistics)


def test_runs_are_counted_by_their_number_of_rows() -> None:
    counted = InferenceStatistics(lambda: []).of("base", 1)

    for rows in (4, 1, 4):
        counted.ran(rows, StageTimes(input_ns=10, infer_ns=20, output_ns=30))

    found = counted.snapshot()
    assert found.runs == 3
    assert found.by_rows == {1: RunCounts(1, 10, 20, 30), 4: RunCounts(2, 20, 40, 60)}


def test_the_time_of_failures_and_of_the_last_request_are_known() -> None:
    counted = InferenceStatistics(lambda: []).of("base", 1)
    assert counted.last_ended_ms == 0

    counted.failed("OTHER", request_ns=70)
    counted.failed("REJECTED", request_ns=30)

    assert counted.failed_ns == 100
    assert abs(counted.last_ended_ms - time.time() * 1000) < 60_000


def test_a_snapshot_does_not_change_when_more_is_counted() -> None:
    statistics = InferenceStatistics(lambda: [("base", 2), ("base", 1)])
    statistics.of("base", 1).succeeded(rows=1, times=times(1))

    before = statistics.snapshots()
    statistics.of("base", 1).succeeded(rows=1, times=times(1))
    statistics.of("base", 1).failed("OTHER")

    assert list(before) == [("base", 1), ("base", 2)]
    assert before["base", 1].successes == 1
    assert before["base", 1].failures["OTHER"] == 0
