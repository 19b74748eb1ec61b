"""An oracle: every embedded server once more, with faults whose number is known beforehand.

`install` makes it available to whoever has the directory on PYTHONPATH: servers `polling.oracle`, `mqtt.oracle` and so
on, one for each embedded server that is installed. `Faults` says what they do, and what must be counted then.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from rtbench.plan.variant import DEFAULT_SERVER
from rtbench.transports import registry

MODULE = "rtbench_oracle"


@dataclass(frozen=True)
class Faults:
    """The sequence numbers of the messages that something happens to; each of them in at most one place."""

    drop: tuple[int, ...] = ()
    repeat: tuple[int, ...] = ()
    swap: tuple[int, ...] = ()  # each comes after its successor, which must pass untouched
    corrupt: tuple[int, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        return {"ORACLE": json.dumps(asdict(self))}

    def counts(self, subscribers: int) -> dict[str, int]:
        """Return what the ledger must say; what is corrupt has not been delivered, so it is lost as well."""
        return {
            "lost": (len(self.drop) + len(self.corrupt)) * subscribers,
            "duplicated": len(self.repeat) * subscribers,
            "reordered": len(self.swap) * subscribers,
            "corrupt": len(self.corrupt) * subscribers,
            "unexpected": 0,
        }


def embedded() -> list[str]:
    """Return every transport that has an embedded server."""
    return sorted(name for name, server in registry.server_names() if server == DEFAULT_SERVER)


def install(directory: Path) -> None:
    """Make the oracle importable from a directory, with its entry points."""
    shutil.copy(Path(__file__).with_name("relay.py"), directory / f"{MODULE}.py")
    info = directory / f"{MODULE}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n", encoding="utf-8")
    points = [f"{name}.oracle = {MODULE}:{name.replace('-', '_')}" for name in embedded()]
    (info / "entry_points.txt").write_text("\n".join(["[rtbench.servers]", *points, ""]), encoding="utf-8")
