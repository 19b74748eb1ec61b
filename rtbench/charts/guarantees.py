"""Guarantees: a table as a picture: a row for each variant, a column for each policy and fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtbench.analysis.guarantees import BROKEN, HELD, UNCOUNTED, UNPROMISED, in_short, short_faults, shown_name
from rtbench.charts import words
from rtbench.charts.page import Page
from rtbench.charts.style import COLOURS, mixed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtbench.analysis.guarantees import Cell
    from rtbench.analysis.view import Guarantees
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

    Column = tuple[str, str]  # policy and fault

SIGNS = {HELD: "✓", BROKEN: "✗", UNPROMISED: "–", UNCOUNTED: "?"}
_GAP = 0.04  # between two cells, of a cell
_NOTE = (
    "✓ the promise held, ✗ it did not, – nothing is promised, ? not counted. Then deliveries lost/come twice in each "
    "episode (mean), and the median time until a subscriber had a message again."
)


def guarantees(result: Guarantees, preset: Preset) -> Chart:
    """Draw what was lost and what came twice under each fault, and whether that was a breach of a promise."""
    cells = [cell for cell in result.cells if cell.trials]
    if not cells:
        raise words.refuse("guarantees", "nothing was measured")
    policies = list(dict.fromkeys(cell.variant.reconnect for cell in cells))
    faults = list(dict.fromkeys(cell.fault for cell in cells))
    columns = [(policy, fault) for policy in policies for fault in faults]
    rows: dict[str, dict[Column, Cell]] = {}
    for cell in cells:
        rows.setdefault(shown_name(cell.variant), {})[cell.variant.reconnect, cell.fault] = cell
    page = Page(result, preset)
    _name_rows_and_columns(page, rows, columns)
    promised = [cell for cell in cells if cell.outcome in (HELD, BROKEN)]
    held = sum(cell.outcome == HELD for cell in promised)
    headline = f"{held} of {len(promised)} promises held" if promised else "Nothing is promised"
    page.frame("What is lost and what comes twice when something breaks", [_NOTE], headline=headline)
    _draw(page, rows, columns)
    what = "Table: a row for each variant, a column for each policy of the clients and each fault."
    said = [
        f"{name}, {policy}, {fault}: {_said(row[policy, fault])}" for name, row in rows.items() for policy, fault in row
    ]
    return page.chart("guarantees", words.alternative(result, what, f"{'; '.join(said)}."))


def _name_rows_and_columns(page: Page, rows: Mapping[str, Mapping[Column, Cell]], columns: Sequence[Column]) -> None:
    axes, p = page.axes, page.preset
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), rows)
    heads = short_faults(list(dict.fromkeys(fault for _, fault in columns)))
    axes.set_xticks(range(len(columns)), [f"{policy}\n{heads[fault]}" for policy, fault in columns])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=p.tick_pt * 0.8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for label, row in zip(axes.get_yticklabels(), rows.values(), strict=True):
        label.set_color(page.look(next(iter(row.values())).variant).text)


def _draw(page: Page, rows: Mapping[str, Mapping[Column, Cell]], columns: Sequence[Column]) -> None:
    """Draw each cell, its text as large as the widest one allows."""
    from matplotlib.patches import Rectangle

    p = page.preset
    tints = {
        HELD: mixed(COLOURS[0], p.background, 0.3),
        BROKEN: mixed(COLOURS[6], p.background, 0.6),
        UNPROMISED: mixed(p.ink, p.background, 0.08),
        UNCOUNTED: p.background,
    }
    texts = {
        (at, column): in_short(cell, SIGNS) for at, row in enumerate(rows.values()) for column, cell in row.items()
    }
    room = page.axes.get_window_extent().width / len(columns) * 0.92
    widest = page.text_width(max(texts.values(), key=len), p.tick_pt)
    size = min(p.tick_pt * min(room / widest, 1.0), 0.7 * page.row_points(len(rows)))
    for at, row in enumerate(rows.values()):
        for column, cell in row.items():
            x = columns.index(column)
            box = (x - 0.5 + _GAP / 2, at - 0.5 + _GAP), 1 - _GAP, 1 - 2 * _GAP
            edge = p.ink if cell.outcome == BROKEN else "none"
            page.axes.add_patch(Rectangle(*box, facecolor=tints[cell.outcome], edgecolor=edge, gid=cell.outcome))
            weight = "bold" if cell.outcome == BROKEN else "normal"
            page.axes.text(
                x, at, texts[at, column], ha="center", va="center_baseline", fontsize=size, color=p.ink, weight=weight
            )


def _said(cell: Cell) -> str:
    if cell.not_counted:
        return cell.outcome
    return f"{cell.outcome}, {cell.total('lost')} lost and {cell.total('duplicated')} duplicated"
