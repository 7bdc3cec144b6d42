"""Simulated campaigns: an oracle answers, and strategies are measured against random."""
