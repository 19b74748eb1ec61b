"""The data dictionary in the documentation: a table for each CSV, written from the columns that the code defines.

    python -m rtbench.result.dictionary docs      writes the tables into the documents of `tables`

Each table stands between two comments, `<!-- columns: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from rtbench.analysis import guarantees, idle, lab, law_check, security
from rtbench.analysis.metric import Column
from rtbench.analysis.metrics import rate_columns, summary_columns, trial_columns
from rtbench.result.exports import DELIVERY_COLUMNS

_TABLE = r"(<!-- columns: {name} -->\n).*?(<!-- end -->)"


def tables() -> dict[str, dict[str, str]]:
    """Return the table of every CSV by the document that it stands in, and by its name there."""
    return {
        "results.md": {
            "summary.csv": _table(summary_columns()),
            "trials.csv": _table(trial_columns()),
            "rates.csv": _table(rate_columns()),
            "deliveries": _table(DELIVERY_COLUMNS),
        },
        "idle.md": {"summary.csv": _table(idle.columns())},
        "security.md": {
            "summary.csv": _table(security.columns()),
            "attempts.csv": _table(security.attempt_columns()),
        },
        "lab.md": {"summary.csv": _table(lab.columns())},
        "guarantees.md": {"summary.csv": _table(guarantees.columns())},
        "laws.md": {"summary.csv": _table(law_check.COLUMNS)},
    }


def _table(columns: Iterable[Column]) -> str:
    rows = [f"| `{column.name}` | {column.kind} | {column.meaning} |" for column in columns]
    return "\n".join(["| column | type | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def written(text: str, tables: dict[str, str]) -> str:
    """Return a document with its tables as the code has them.

    Raises:
        ValueError: the document has no place for one of them.
    """
    for name, table in tables.items():
        text, count = re.subn(
            _TABLE.format(name=re.escape(name)),
            lambda found, table=table: found[1] + table + found[2],  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"the document must have one place for the columns of {name}: it has {count}")
    return text


def write(docs: Path) -> None:
    """Write the tables into the documents of a folder."""
    for document, found in tables().items():
        path = docs / document
        path.write_text(written(path.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
