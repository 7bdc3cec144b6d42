"""How often a serving process looks for garbage in cycles."""

from __future__ import annotations

import gc

# New containers between two looks at the young; looks at the young between two at the middle-aged;
# and of these between two at all. Python's own 700 has a busy service spend a quarter of its time
# on thousands of rows that are alive, and which die with their request without any look.
THRESHOLDS = (50_000, 20, 100)


def look_less_often() -> None:
    """Leave out for good what start-up made, and look at the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
