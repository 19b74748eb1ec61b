"""`rtbench transports`."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command("transports", short_help="List what is installed.")
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def command(as_json: bool) -> None:
    """List the installed transports with their servers, clients and options."""
    from rtbench.table import Table

    rows = list(_rows())
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        click.echo(Table(rows).text(left=list(rows[0]) if rows else []))


def _rows() -> list[dict[str, Any]]:
    from rtbench.errors import UsageError
    from rtbench.transports import registry

    rows = []
    for kind, names in (("server", registry.server_names()), ("client", registry.client_names())):
        for name, implementation in names:
            row = {"transport": name, "kind": kind, "name": implementation}
            try:
                found = (registry.server if kind == "server" else registry.client)(name, implementation)
                options = ", ".join(found.options) or "–"
                rows.append({**row, "software": found.software, "options": options})
            except UsageError as error:
                rows.append({**row, "software": str(error), "options": "–"})
    order = registry.in_order_of_tables({row["transport"] for row in rows})
    return sorted(rows, key=lambda row: (order.index(row["transport"]), row["kind"] == "client"))
