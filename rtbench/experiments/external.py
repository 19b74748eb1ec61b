"""Servers that run already: who may be measured, how much, and with which login."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rtbench.errors import UsageError
from rtbench.plan.login import Login
from rtbench.plan.settings import Given, listed
from rtbench.plan.values import MOST_CONNECTIONS_ELSEWHERE, MOST_DELIVERIES_ELSEWHERE
from rtbench.plan.variant import split_url
from rtbench.plan.workload import Workload
from rtbench.system.secret import read_secret, read_text, variable
from rtbench.system.tls import external_context
from rtbench.trial.servers import check_url

_FOR_URLS = ("allow_host", "allow_load", "username", "password_file", "ca", "client_cert", "client_key")


def check_external(settings: Mapping[str, Given], workload: Workload, at_once: int = 1) -> None:
    """Refuse what must not be done to a server that runs already; `at_once` variants are measured together.

    Raises:
        UsageError: a URL leads to a machine that is not named twice, the load is above what another machine may get,
            or the login cannot be used.
    """
    urls, allowed = listed(settings["url"].value), listed(settings["allow_host"].value)
    if not urls:
        for name in _FOR_URLS:
            if settings[name].value:
                raise UsageError(f"--{name.replace('_', '-')} is for a server at --url: give one")
        return
    elsewhere = [url for url in (split_url(text)[1] for text in urls) if check_url(url, allowed)]
    deliveries_hz = at_once * workload.deliveries_of(workload.rate_hz)
    connections = at_once * (workload.publishers + workload.subscribers)
    too_much = deliveries_hz > MOST_DELIVERIES_ELSEWHERE or connections > MOST_CONNECTIONS_ELSEWHERE
    if elsewhere and too_much and not settings["allow_load"].value:
        raise UsageError(
            f"{elsewhere[0]} is on another machine, which gets at most {MOST_DELIVERIES_ELSEWHERE} deliveries a second "
            f"and {MOST_CONNECTIONS_ELSEWHERE} connections unless --allow-load is given: this is {deliveries_hz:g} and "
            f"{connections}{f', of {at_once} variants at once in the sparse part' if at_once > 1 else ''}"
        )
    external_context(login_of(settings))


def login_of(settings: Mapping[str, Given]) -> Login:
    """Return the login that the settings name, with what the files have.

    Raises:
        UsageError: a file cannot be read, or one part of a pair is missing.
    """
    value = {name: settings[name].value if name in settings else None for name in _FOR_URLS}
    username, file, password = value["username"], value["password_file"], None
    if username is None and file is not None:
        raise UsageError("--password-file needs --username")
    if username is not None:
        password = read_secret("password", None if file is None else Path(file))
        if password is None:
            raise UsageError(f"--username needs a password: give --password-file, or set {variable('password')}")
    if (value["client_cert"] is None) != (value["client_key"] is None):
        raise UsageError("--client-cert and --client-key go together; one is missing")
    authority = None if value["ca"] is None else read_text("--ca", Path(value["ca"]))
    return Login(username, password, authority, value["client_cert"], value["client_key"])
