"""`rtbench security`: measure what protecting a server costs, and try to get in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtbench.cli.measuring import experiment_command

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment


def _experiment() -> Experiment[Any, Any]:
    from rtbench.experiments.security import SECURITY

    return SECURITY


command = experiment_command(
    "security",
    _experiment,
    "Measure what protecting a server costs, and try to get in.",
    """Measure what protecting a server costs, and try to get in.

    Each server is measured plain, with TLS, with resumed TLS sessions, with users and passwords, and with an access
    list by topic: the time to connect, and bytes and CPU time of a connection and of a delivery, as multiples of the
    plain server. Then a client tries to get in: without a password, with a wrong one, on a forbidden topic, from a page
    of a foreign origin, with TLS 1.1; and clients meet a server with an expired certificate. Anybody let in who should
    not be is exit code 3.
    """,
)
