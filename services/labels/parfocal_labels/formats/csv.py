"""Snapshots as comma-separated values (RFC 4180): a header, then one line for each query.

The columns are those of the snapshot; `verdict` is `true`, `false` or `unsure`, and empty where
classes are asked for and one was found. Numbers that are not defined, and NaN, are empty cells.

A spreadsheet takes text that begins with `=`, `+`, `-` or `@` for a formula. Text that begins with
one of these, a tab, a line break or an apostrophe gets an apostrophe before it, so that nothing
in a class name is carried out; whoever reads the file takes one apostrophe off.
"""

from __future__ import annotations

import csv
import io
import math

import pyarrow as pa

_ROWS_AT_ONCE = 10_000
_DANGEROUS = tuple("=+-@\t\r\n'")


def csv_bytes(table: pa.Table) -> bytes:
    """Return a snapshot as CSV in UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            if row["verdict"] is None and row["class_name"] is None:
                row["verdict"] = "unsure"
            writer.writerow(map(cell, row.values()))
    return text.getvalue().encode()


def cell(value: object) -> str:
    """Return a value as the text of a cell that no spreadsheet carries out."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    is_text = isinstance(value, str)
    return f"'{text}" if is_text and text.startswith(_DANGEROUS) else text
