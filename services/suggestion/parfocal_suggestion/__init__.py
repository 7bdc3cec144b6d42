"""Suggestion service: which few candidates are worth a person's eye, and why."""
