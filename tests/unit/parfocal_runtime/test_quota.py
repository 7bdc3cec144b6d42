from __future__ import annotations

import os
from pathlib import Path

import pytest

from parfocal_runtime.quota import cpu_quota, cpu_threads


def write(mount: Path, name: str, text: str) -> None:
    file = mount / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_at_least_one_thread_and_no_more_than_cpus() -> None:
    assert 1 <= cpu_threads() <= len(os.sched_getaffinity(0))


def test_without_a_quota_there_is_none(tmp_path: Path) -> None:
    write(tmp_path, "cpu.max", "max 100000\n")
    write(tmp_path, "cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, "cpu/cpu.cfs_period_us", "100000\n")

    assert cpu_quota(tmp_path, ["/"]) is None
    assert cpu_quota(tmp_path / "none", ["/pod"]) is None


def test_the_quota_of_version_2_is_read(tmp_path: Path) -> None:
    write(tmp_path, "cpu.max", "150000 100000\n")

    assert cpu_quota(tmp_path, ["/"]) == 1.5


@pytest.mark.parametrize("controller", ["cpu", "cpu,cpuacct"])
def test_the_quota_of_version_1_is_read(tmp_path: Path, controller: str) -> None:
    write(tmp_path, f"{controller}/cpu.cfs_quota_us", "250000\n")
    write(tmp_path, f"{controller}/cpu.cfs_period_us", "100000\n")

    assert cpu_quota(tmp_path, ["/"]) == 2.5


def test_the_smallest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    write(tmp_path, "pods/cpu.max", "300000 100000")
    write(tmp_path, "pods/one/cpu.max", "max 100000")
    write(tmp_path, "pods/other/cpu.max", "100000 100000")

    assert cpu_quota(tmp_path, ["/pods/one"]) == 3.0


def test_a_path_outside_the_mount_is_harmless(tmp_path: Path) -> None:
    write(tmp_path, "cpu.max", "100000 100000")

    assert cpu_quota(tmp_path / "inner", ["/../.."]) is None
