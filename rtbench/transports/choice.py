"""Which variants of the installed transports a user asked for."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from rtbench.errors import UsageError
from rtbench.plan.clients import AUTO, usual_client
from rtbench.plan.network import LOOPBACK
from rtbench.plan.reconnect import ROBUST
from rtbench.plan.settings import Given, listed, policies_of
from rtbench.plan.variant import (
    DEFAULT_CLIENT,
    DEFAULT_SERVER,
    EXTERNAL_SERVER,
    TIERS,
    Variant,
    in_order,
    label,
    of_transport,
    split_url,
)
from rtbench.transports import registry
from rtbench.transports.contract import Client
from rtbench.transports.options import Option


def chosen_variants(settings: Mapping[str, Given], everything: bool) -> list[Variant]:
    """Return the variants that the settings name; in a comparison (`everything`) all where they name none.

    An option or a server that a transport does not have is an error in a run. In a comparison it is an error only
    where no transport has it; it does not concern the others.

    Raises:
        UsageError: something unknown, or an option or a server that no transport has.
    """
    names, servers = listed(_value(settings, "transport")), listed(_value(settings, "server"))
    urls = listed(_value(settings, "url"))
    if not (names or everything):
        raise UsageError(f"--transport is missing; installed: {', '.join(registry.installed())}")
    if urls:
        if servers or _value(settings, "tier"):
            raise UsageError("--url names the servers: leave out --server and --tier")
        names = _spoken_at(urls, names)
        servers = [EXTERNAL_SERVER]
    servers = _of_tiers(settings, names or _usable(), servers)
    given = _client_options(settings)
    for_servers = _named_values("--server-option", _value(settings, "server_option"))
    policies = policies_of(settings)
    networks = listed(_value(settings, "network")) or [LOOPBACK]
    if not everything:
        _refuse_several(
            {
                "--transport": names,
                "--server": servers,
                "--url": urls,
                "--client": listed(_value(settings, "client")),
                "--network": networks,
                "--reconnect": policies,
                **given,
                **for_servers,
            }
        )
    several = [name for name, values in given.items() if len(values) > 1]
    found: list[Variant] = []
    names = list(dict.fromkeys(names or _usable()))
    clients = _clients(settings, names)
    for name, client in itertools.product(names, clients):
        if everything and len(clients) > 1 and (name, client) not in registry.client_names():
            continue
        spoken = registry.client(name, client)
        concerned = {o: values for o, values in given.items() if _key(spoken, o) in spoken.options or not everything}
        for server in servers or [DEFAULT_SERVER]:
            usual = server in (DEFAULT_SERVER, EXTERNAL_SERVER)
            if everything and not usual and (name, server) not in registry.server_names():
                continue
            for options in _combinations(concerned):
                for served in _server_options(name, server, for_servers, everything):
                    for url in _of_transport(urls, name) or [""]:
                        found += variants_of(name, server, client, options, served, url, several, everything)
    if not found:
        raise UsageError(f"no transport has the server {', '.join(servers)}; `rtbench transports` lists the installed")
    _check_someone_has(given, found)
    _check_some_server_has(for_servers, found)
    if everything and _value(settings, "control") and not urls:
        found += [v for client in clients for v in _controls(client)]
    if _value(settings, "tls"):
        _check_tls(found)
    _check_resuming(found, policies, everything)
    found = [
        replace(variant, network=network, reconnect=policy)
        for network in networks
        for policy in policies
        for variant in found
    ]
    return in_order(list({variant.name: variant for variant in _told_apart(found)}.values()))


def _clients(settings: Mapping[str, Given], transports: Sequence[str]) -> list[str]:
    """Return the kinds of client to measure with; `auto` is the same one for all transports."""
    asked = list(dict.fromkeys(listed(_value(settings, "client"))))
    if AUTO not in asked:
        return asked
    if len(asked) > 1:
        raise UsageError(f"--client auto chooses one kind: leave it out, or leave out {', '.join(set(asked) - {AUTO})}")
    usual = usual_client(settings)
    missing = [name for name in transports if (name, usual) not in registry.client_names()]
    return [DEFAULT_CLIENT if missing else usual]


def _spoken_at(urls: Sequence[str], transports: list[str]) -> list[str]:
    """Return the transports to measure at some URLs: those that are asked for, or all that speak a scheme of them.

    Raises:
        UsageError: a URL is of none of them, or none of the URLs is of a transport.
    """
    asked = transports or [name for name in _usable() if _of_transport(urls, name)]
    schemes = {name: registry.client(name).schemes for name in asked or _usable()}
    known = ", ".join(f"{found[0]}://... ({name})" for name, found in schemes.items())
    for url in urls:
        named, place = split_url(url)
        scheme, separator, _ = place.partition("://")
        if not separator:
            raise UsageError(f"--url must have a scheme, a host and a port, as mqtt://127.0.0.1:1883: got {url!r}")
        if not any(_of_transport([url], name) for name in asked):
            of = f"{named}={scheme}" if named else scheme
            raise UsageError(f"--url {of}://... is of no transport here; such are {known}")
    for name in asked:
        if not _of_transport(urls, name):
            raise UsageError(f"--url: none is of {name}, whose begin with {schemes[name][0]}://")
    return asked


def _of_transport(urls: Sequence[str], transport: str) -> list[str]:
    return of_transport(urls, transport, registry.client(transport).schemes)


def _told_apart(variants: Sequence[Variant]) -> list[Variant]:
    """Return the variants; where several URLs have the same one, its label says which."""
    urls: dict[str, set[str]] = {}
    for v in variants:
        urls.setdefault(v.name, set()).add(v.url)
    place = {v.url: urlsplit(v.url).netloc for v in variants}
    return [replace(v, label=f"{v.label}-{place[v.url]}") if len(urls[v.name]) > 1 else v for v in variants]


def _of_tiers(settings: Mapping[str, Given], transports: Sequence[str], servers: list[str]) -> list[str]:
    """Return the servers of the tiers that are asked for; those of `--server` where none is."""
    tiers = listed(_value(settings, "tier"))
    if not tiers:
        return servers
    if servers:
        raise UsageError("--tier chooses the servers: leave out --server and --url")
    if unknown := [tier for tier in tiers if tier not in TIERS]:
        raise UsageError(f"--tier must be one of {', '.join(TIERS)}: got {unknown[0]!r}")
    known = [(t, name) for t, name in registry.server_names() if t in transports]
    found = [name for tier in tiers for t, name in known if registry.tier(t, name) == tier]
    if not found:
        raise UsageError(f"--tier {', '.join(tiers)}: no server of {', '.join(transports)} is of it")
    return list(dict.fromkeys(found))


def _client_options(settings: Mapping[str, Given]) -> dict[str, list[Any]]:
    """Return the values given for options of clients, by the name that users set them with."""
    given = {name: listed(_value(settings, name)) for name in registry.client_settings()}
    given = {name: values for name, values in given.items() if values}
    for name, values in _named_values("--option", _value(settings, "option")).items():
        given.setdefault(name, []).extend(values)
    return given


def _named_values(flag: str, texts: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in listed(texts):
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"{flag} must be NAME=VALUE: got {text!r}")
        found.setdefault(name.replace("-", "_"), []).append(value)
    return found


def _refuse_several(given: Mapping[str, Sequence[Any]]) -> None:
    for name, values in given.items():
        if len(values) > 1:
            raise UsageError(
                f"a run measures one variant: give one value for {name}, not {', '.join(map(str, values))}; "
                "`rtbench compare` takes several"
            )


def _combinations(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(values, choice, strict=True)) for choice in itertools.product(*values.values())]


def _key(client: Client, name: str) -> str:
    """Return the parameter of a client that users set as `name`: `interval` sets `interval_s`."""
    return next((key for key, option in client.options.items() if name in (key, option.setting)), name)


def server_options(transport: str, server: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return the options of a server that `--server-option NAME=VALUE` gives, one value each.

    Raises:
        UsageError: it has no such option, a value cannot be, or one is given twice.
    """
    given = _named_values("--server-option", list(texts))
    if twice := [name for name, values in given.items() if len(values) > 1]:
        raise UsageError(f"--server-option {twice[0]} is given twice")
    (found,) = _server_options(transport, server, given, everything=False)
    return found


def _server_options(
    transport: str, server: str, given: Mapping[str, Sequence[str]], everything: bool
) -> list[dict[str, Any]]:
    if server == EXTERNAL_SERVER:
        if given:
            raise UsageError("--server-option is for a server that rtbench starts; --url names one that runs already")
        return [{}]
    known = registry.server(transport, server).options
    by_setting = {option.setting: option for option in known.values()}
    if not everything:
        unknown = [name for name in given if name not in by_setting and name not in known]
        takes = ", ".join(sorted(option.name for option in known.values() if option.is_measured)) or "none"
        for name in unknown:
            raise UsageError(
                f"--server-option {name}: the server {server} of {transport} has no such option; it has {takes}"
            )
    concerned: dict[str, list[Any]] = {}
    for name, values in given.items():
        option = known.get(name) or by_setting.get(name)
        if option is not None:
            _refuse_unmeasured(option)
            concerned[option.name] = [option.parse(value) for value in values]
    return _combinations(concerned)


def _refuse_unmeasured(option: Option) -> None:
    if option.local:
        raise UsageError(
            f"--server-option {option.name}: a measurement has no users; `rtbench serve` takes it, `rtbench security` "
            "makes its own"
        )
    if option.secret:
        raise UsageError(f"--server-option {option.name}: a secret would stand in the result; `rtbench serve` takes it")


def _check_someone_has(given: Mapping[str, Sequence[Any]], found: Sequence[Variant]) -> None:
    for name, values in given.items():
        if not any(_key(registry.client(v.transport, v.client), name) in v.options for v in found):
            variants_of(found[0].transport, found[0].server, found[0].client, {name: values[0]})


def _check_some_server_has(given: Mapping[str, Sequence[str]], found: Sequence[Variant]) -> None:
    for name in given:
        if not any(name in (key, Option(name=key).setting) for v in found for key in v.server_options):
            servers = {(v.transport, v.server): registry.server(v.transport, v.server) for v in found}
            options = {o.name: o for server in servers.values() for o in server.options.values()}
            takes = ", ".join(sorted(o.name for o in options.values() if o.is_measured)) or "none"
            raise UsageError(f"--server-option {name}: no server here has it; they have {takes}")


def _check_tls(variants: Sequence[Variant]) -> None:
    for v in variants:
        if v.server == EXTERNAL_SERVER:
            raise UsageError("--tls makes a certificate for a server that rtbench starts; write it into --url instead")
        if not registry.server(v.transport, v.server).tls:
            raise UsageError(f"--tls: the server {v.server} of {v.transport} has no TLS (its `serve` takes no `tls`)")


def _check_resuming(variants: Sequence[Variant], policies: Sequence[str], everything: bool) -> None:
    for v in variants:
        if ROBUST in policies and not registry.client(v.transport, v.client).resumes:
            raise UsageError(
                f"--reconnect robust: the client {v.client} of {v.transport} cannot resume; give --reconnect naive"
                f"{', or --no-control' if v.control and everything else ''}"
            )


def _usable() -> list[str]:
    """Return the installed transports that can be loaded, without controls; warn of those that cannot."""
    found = []
    for name in registry.installed():
        try:
            registry.server(name)
            if not registry.client(name).control:
                found.append(name)
        except UsageError as error:
            warnings.warn(f"{name} is left out: {error}", stacklevel=2)
    return found


def _controls(client: str) -> list[Variant]:
    controls = [n for n in registry.installed() if registry.is_control(n) and (n, client) in registry.client_names()]
    return [v for name in controls for v in variants_of(name, DEFAULT_SERVER, client, {})]


def _value(settings: Mapping[str, Given], name: str) -> Any:
    """Return a setting; None for one that the experiment does not have."""
    return settings[name].value if name in settings else None


def variants_of(
    name: str,
    server: str,
    client: str,
    options: Mapping[str, Any],
    server_options: Mapping[str, Any] | None = None,
    url: str = "",
    labelled: Collection[str] = (),
    all_of_them: bool = True,
) -> list[Variant]:
    """Return the variants of one transport that its client names, narrowed by `options`; or only the first of them.

    The options `labelled` enter the label beside those of the variant, because they have several values.

    Raises:
        UsageError: no such transport, server or client; an option that the transport does not have, or a value of it.
    """
    spoken = registry.client(name, client)
    software, configured = f"runs already, at {url}", dict[str, str]()
    if not url:
        served = registry.server(name, server)
        software, configured = served.software, dict(served.configured(**server_options or {}))
    given = {}
    for setting, value in options.items():
        key = _key(spoken, setting)
        if key not in spoken.options:
            raise UsageError(_no_such_option(name, Option(name=key)))
        if spoken.options[key].secret:
            raise UsageError(f"{spoken.options[key].flag} is secret, and would stand in the result: it cannot be given")
        given[key] = spoken.options[key].parse(value)
    found = []
    extra = "".join(
        f"-{spoken.options[key].setting}{spoken.options[key].shown(value)}"
        for key, value in given.items()
        if spoken.options[key].setting in labelled and not any(key in choice for choice in spoken.variants)
    )
    for shade, choice in enumerate(spoken.variants):
        if all(given.get(key, value) == value for key, value in choice.items()):
            found.append(
                Variant(
                    label=label(name, choice) + extra,
                    transport=name,
                    server=server,
                    client=client,
                    options={**spoken.defaults, **choice, **given},
                    slot=registry.slot_of(name),
                    shade=shade,
                    server_software=software,
                    client_software=spoken.software,
                    control=spoken.control,
                    server_options=dict(server_options or {}),
                    server_settings=configured,
                    url=url,
                )
            )
    if not found:
        raise UsageError(_no_such_value(name, given, spoken.variants))
    return found if all_of_them else found[:1]


def _no_such_option(transport: str, option: Option) -> str:
    owners = registry.client_settings_owners(option.setting)
    having = f"; {', '.join(owners)} has it" if owners else ""
    return f"{transport} has no {option.flag}{having}"


def _no_such_value(name: str, given: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> str:
    for key, value in given.items():
        choices = list(dict.fromkeys(choice[key] for choice in variants if key in choice))
        if choices and value not in choices:
            return f"{name} has no --{key} {value}; it has {', '.join(map(str, choices))}"
    return f"{name} has no variant with {dict(given)}"
