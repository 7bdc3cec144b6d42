from __future__ import annotations

from prometheus_client.core import Metric

from parfocal_runtime.histograms import Histogram, add_histogram


def test_a_value_on_a_bound_lies_below_it() -> None:
    histogram = Histogram((0.5, 1))
    for value in (0.5, 0.6, 1.0, 3.0):
        histogram.add(value)

    assert histogram.cumulated() == [("0.5", 1), ("1.0", 3), ("+Inf", 4)]


def test_what_happened_often_is_counted_as_often() -> None:
    histogram = Histogram((1,))

    histogram.add(1, times=3)

    assert histogram.cumulated() == [("1.0", 3), ("+Inf", 3)]


def test_the_count_is_that_of_all_values() -> None:
    metric = Metric("a", "A.", "histogram")

    add_histogram(metric, {"of": "b"}, [("1.0", 2), ("+Inf", 5)], 7.5)

    assert [(each.name, each.labels, each.value) for each in metric.samples] == [
        ("a_bucket", {"of": "b", "le": "1.0"}, 2),
        ("a_bucket", {"of": "b", "le": "+Inf"}, 5),
        ("a_count", {"of": "b"}, 5),
        ("a_sum", {"of": "b"}, 7.5),
    ]
