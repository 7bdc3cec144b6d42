"""Simulated campaigns: what a strategy's questions are worth, measured against random."""

from parfocal_bench.running import Progress, run, run_protocol

__all__ = ["Progress", "run", "run_protocol"]
