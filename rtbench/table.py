"""Table: rows that print as text in a terminal, as HTML in a notebook, and as CSV or Markdown in a file."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 100  # of texts, in columns of a terminal, where nothing else is known
LEAST_WIDTH = 60


def _csv_value(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.9g}"
    return value


def significant(value: Any, digits: int = 3) -> str:
    """Return a number for a reader: three significant digits; an en dash for None."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def cut(text: str, longest: int) -> str:
    """Return a text of at most `longest` characters; an ellipsis stands for what is cut off."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


@dataclass(frozen=True)
class Table:
    """Rows with the same keys in the same order."""

    rows: Sequence[Mapping[str, Any]]

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.rows[0]) if self.rows else []

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, variant: str) -> Mapping[str, Any]:
        """Return the row of a variant.

        Raises:
            KeyError: the table has no such variant.
        """
        for row in self.rows:
            if row.get("variant") == variant:
                return row
        raise KeyError(variant)

    def column(self, name: str) -> list[Any]:
        """Return one column."""
        return [row[name] for row in self.rows]

    def to_csv(self) -> str:
        """Return the table as CSV (RFC 4180): numbers with nine significant digits, an empty field for None."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_csv_value(value) for value in row.values()] for row in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """Return the table for Markdown (GitHub Flavored Markdown, section 4.10), numbers to the right."""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)]]
        lines += [[significant(value).replace("|", "\\|") for value in row.values()] for row in self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def text(self, left: Sequence[str] = ()) -> str:
        """Return the table in aligned columns. Columns are aligned to the right, except those that `left` names."""
        cells = [self.columns, *([significant(v) for v in row.values()] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = []
        for line in cells:
            parts = [
                cell.ljust(width) if name in left else cell.rjust(width)
                for name, cell, width in zip(self.columns, line, widths, strict=True)
            ]
            lines.append("  ".join(parts).rstrip())
        return "\n".join(lines)

    def fitted(self, width: int, dropped: Sequence[str]) -> tuple[Table, list[str]]:
        """Return the table without the first of the columns `dropped` that it must lose to fit, and their names.

        If that is not enough, the texts of the first column are cut short.
        """
        rows, lost = list(self.rows), []
        for name in (name for name in dropped if name in self.columns):
            if Table(rows).width <= width:
                break
            rows = [{key: value for key, value in row.items() if key != name} for row in rows]
            lost.append(name)
        if rows and (excess := Table(rows).width - width) > 0:
            first = next(iter(rows[0]))
            longest = max(max(len(row[first]) for row in rows) - excess, 2)
            rows = [{**row, first: cut(row[first], longest)} for row in rows]
        return Table(rows), lost

    @property
    def width(self) -> int:
        """The longest line of the table as text."""
        return max(map(len, self.text().splitlines()), default=0)

    def __str__(self) -> str:
        return self.text(left=self.columns[:1])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(significant(v))}</td>" for v in row.values()) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
