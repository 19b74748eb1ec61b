"""Wrong options, values, variables and files: each is refused in one line that says what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtbench.cli import run_program
from rtbench.errors import did_you_mean
from tests.builders import REFERENCE
from tests.refusing import refused

REFUSED = [
    ("a run without a transport", ["run"], "--transport is missing"),
    ("an unknown transport", ["run", "--transport", "pigeon"], "unknown transport 'pigeon'; installed:"),
    ("QoS for a transport that has none", ["run", "--transport", "websocket", "--qos", "2"], "websocket has no --qos; mqtt has it"),
    ("an interval for a transport that has none", ["run", "--transport", "sse", "--interval", "1s"], "sse has no --interval; polling has it"),
    ("a QoS that does not exist", ["run", "--transport", "mqtt", "--qos", "3"], "mqtt has no --qos 3; it has 0, 1, 2"),
    ("rate 0", ["run", "--transport", "sse", "--rate", "0"], "--rate must be above 0"),
    ("a rate that is no number", ["run", "--transport", "sse", "--rate", "fast"], "--rate must be a number: got 'fast'"),
    ("a rate that is not finite", ["run", "--transport", "sse", "--rate", "nan"], "--rate must be a number: got 'nan'"),
    ("a time without sense", ["run", "--transport", "sse", "--duration", "2 parsec"], "write it with ns, us, ms, s, m or h"),
    ("an interval of 0", ["run", "--transport", "polling", "--interval", "0s"], "--interval must be above 0"),
    ("a payload below its header", ["run", "--transport", "sse", "--payload", "10"], "--payload must be 39 to 16776192 bytes: got 10"),
    ("nothing due in the duration", ["run", "--transport", "sse", "--rate", "0.1"], "sends nothing"),
    ("more publishers than subscribers hear", ["run", "--transport", "sse", "--publishers", "9", "--subscribers", "2"], "at least as many --subscribers"),
    ("an odd number in pairs", ["run", "--transport", "sse", "--pattern", "pairs", "--publishers", "3"], "even number"),
    ("an unknown pattern", ["run", "--transport", "sse", "--pattern", "ring"], "--pattern must be one of fan-out"),
    ("an unknown client", ["run", "--transport", "sse", "--client", "thin"], "sse has no client 'thin'; installed: lean, library"),
    ("an unknown server", ["run", "--transport", "sse", "--server", "nginx"], "sse has no server 'nginx'; installed: embedded"),
    ("a server that no transport has", ["compare", "--server", "nginx"], "no transport has the server nginx"),
    ("no trials", ["run", "--transport", "sse", "--trials", "0"], "--trials must be 1 to"),
    ("a precision of 0", ["run", "--transport", "sse", "--precision", "0"], "--precision must be 0.1% to 99%, such as 5% or 0.05: got '0'"),
    ("a precision that may be percent or not", ["run", "--transport", "sse", "--precision", "5"], "as 5% or 0.05: got '5'"),
    ("a precision that is no number", ["compare", "--precision", "abc"], "as 5% or 0.05: got 'abc'"),
    ("most trials below the first", ["compare", "--precision", "5%", "--trials", "8", "--most-trials", "7"], "--most-trials must be 8 to 10000 (--trials 8): got 7"),
    ("most trials for nothing", ["compare", "--most-trials", "7"], "--most-trials needs --precision"),
    ("an unknown option", ["run", "--transport", "sse", "--colour", "red"], "rtbench run has no --colour"),
    ("a control of a run", ["run", "--transport", "sse", "--no-control"], "rtbench run has no --no-control; compare, sweep have it"),
    ("an unknown command", ["walk"], "No such command 'walk'"),
    ("an --out below a file", ["run", "--transport", "sse", "--out", "file/below"], "--out file/below cannot be written"),
    ("an --out that is a file", ["run", "--transport", "sse", "--out", "file"], "--out file is a file"),
    ("an --out that is not empty", ["run", "--transport", "sse", "--out", "full"], "--out full is not empty"),
    ("a missing --config", ["run", "--transport", "sse", "--config", "none.toml"], "--config none.toml cannot be read"),
    ("an unknown key in --config", ["run", "--config", "unknown.toml"], "unknown key 'colour'"),
    ("a --config that is no TOML", ["run", "--config", "file"], "is not TOML"),
    ("a result that is not there", ["chart", "nowhere"], "nowhere holds no result"),
    ("a result that is damaged", ["export", "damaged"], "cannot be read"),
    ("run --transport polling --interval 100", ["run", "--transport", "polling", "--interval", "100"], "'100' has no unit; write 100ms, 100s or 100m"),
    ("run --transport sse --duration 5", ["run", "--transport", "sse", "--duration", "5"], "--duration: '5' has no unit; write 5ms, 5s or 5m"),
    ("run --transport websockets", ["run", "--transport", "websockets"], "did you mean websocket?"),
    ("run --transport SSE", ["run", "--transport", "SSE"], "did you mean sse?"),
    ("run --transport mqtt-qos1", ["run", "--transport", "mqtt-qos1"], "did you mean --transport mqtt --qos 1?"),
    ("run --transport mqtt --server mosquito", ["run", "--transport", "mqtt", "--server", "mosquito"], "did you mean mosquitto?"),
    ("runn", ["runn"], "did you mean run?"),
    ("run --transport sse --transport websocket", ["run", "--transport", "sse", "--transport", "websocket"], "give one value for --transport, not sse, websocket"),
    ("a rate out of reach", ["run", "--transport", "sse", "--rate", "1e12"], "--rate must be above 0, up to 1000000: got 1000000000000"),
    ("a rate with a comma", ["run", "--transport", "sse", "--rate", "1,000"], "--rate must be a number: got '1,000'"),
    ("a rate in other digits", ["run", "--transport", "sse", "--rate", "１２"], "--rate must be a number: got '１２'"),
    ("a rate with underscores", ["run", "--transport", "sse", "--rate", "1_000"], "--rate must be a number: got '1_000'"),
    ("an empty rate", ["run", "--transport", "sse", "--rate", ""], "--rate must be a number: got ''"),
    ("a rate of which there is none", ["run", "--transport", "sse", "--rate"], "'--rate' requires an argument"),
    ("two rates", ["run", "--transport", "sse", "--rate", "5", "--rate", "6"], "--rate takes one value: got 5, 6"),
    ("two rates of a comparison", ["compare", "--rate", "5", "--rate", "6"], "--rate takes one value: got 5, 6"),
    ("a payload above 16 MiB", ["run", "--transport", "sse", "--payload", "16777216"], "--payload must be 39 to 16776192 bytes: got 16777216"),
    ("a negative payload", ["run", "--transport", "sse", "--payload", "-5"], "--payload must be 39 to 16776192 bytes: got -5"),
    ("a payload with a fraction", ["run", "--transport", "sse", "--payload", "100.5"], "--payload must be a whole number: got '100.5'"),
    ("a payload of 5000 digits", ["run", "--transport", "sse", "--payload", "9" * 5000], "--payload must be a whole number: got '999"),
    ("deliveries that no memory holds", ["run", "--transport", "sse", "--duration", "24h"], "deliveries a trial; at most 20000000 fit into memory"),
    ("a room that no memory holds", ["run", "--transport", "sse", "--pattern", "room", "--publishers", "5000"], "--publishers to 5000 --subscribers"),
    ("no publishers", ["run", "--transport", "sse", "--publishers", "0"], "--publishers must be 1 to 99999: got 0"),
    ("too many subscribers", ["run", "--transport", "sse", "--subscribers", "100000"], "--subscribers must be 1 to 99999: got 100000"),
    ("more subscribers than fit", ["run", "--transport", "sse", "--subscribers", "99999", "--rate", "2"], "1 --publishers and 99999 --subscribers"),
    ("ten years", ["run", "--transport", "sse", "--duration", "87600h"], "--duration must be above 0s, up to 168h: got 87600h"),
    ("ten years in years", ["run", "--transport", "sse", "--duration", "10y"], "write it with ns, us, ms, s, m or h"),
    ("a time in other digits", ["run", "--transport", "sse", "--duration", "١s"], "'١s' is not a time"),
    ("a time out of order", ["run", "--transport", "sse", "--duration", "1s1h"], "'1s1h' is not a time"),
    ("a time given twice", ["run", "--transport", "sse", "--duration", "1h1h"], "'1h1h' is not a time"),
    ("a negative time", ["run", "--transport", "sse", "--duration", "-1s"], "--duration: '-1s' is negative; a time is 0 or more"),
    ("a time of 400 digits", ["run", "--transport", "sse", "--duration", f"{'1' * 400}s"], "is not a time"),
    ("a warm-up of a year", ["run", "--transport", "sse", "--warmup", "8760h"], "--warmup must be 0s to 168h: got 8760h"),
    ("an interval of weeks", ["run", "--transport", "polling", "--interval", "1000h"], "--interval must be at most 86400s"),
    ("an infinite interval", ["run", "--transport", "polling", "--interval", "inf"], "'inf' is not a time"),
    ("an infinite QoS", ["run", "--transport", "mqtt", "--qos", "inf"], "--qos must be one of 0, 1, 2: got 'inf'"),
    ("a QoS in other digits", ["run", "--transport", "mqtt", "--qos", "１"], "--qos must be one of 0, 1, 2: got '１'"),
    ("a capacity without end", ["run", "--transport", "sse", "--server-option", "capacity=inf"], "--capacity must be a whole number: got 'inf'"),
    ("too many trials", ["run", "--transport", "sse", "--trials", "10001"], "--trials must be 1 to 10000: got 10001"),
    ("too many most trials", ["run", "--transport", "sse", "--precision", "5%", "--most-trials", "10001"], "--most-trials must be 1 to 10000: got 10001"),
    ("a precision out of reach", ["run", "--transport", "sse", "--precision", "1e-300"], "--precision must be 0.1% to 99%"),
    ("a negative seed", ["run", "--transport", "sse", "--seed", "-1"], "--seed must be 0 to 9007199254740991: got -1"),
    ("a seed that JSON cannot hold", ["run", "--transport", "sse", "--seed", "9" * 20], "--seed must be 0 to 9007199254740991"),
    ("two transports with a comma", ["compare", "--transport", "sse,mqtt"], "--transport must be a single name (for several, repeat the flag): got 'sse,mqtt'"),
    ("two servers with a comma", ["compare", "--server", "embedded,mosquitto"], "--server must be a single name"),
    ("an empty transport", ["run", "--transport", ""], "--transport must be a single name"),
    ("an empty client", ["run", "--transport", "sse", "--client", ""], "--client must be a single name"),
    ("a transport that colours the terminal", ["run", "--transport", "\x1b[31mred"], "unknown transport '\\x1b[31mred'"),
    ("an option that colours the terminal", ["run", "--transport", "sse", "--option", "\x1b[31m=1"], "sse has no --\\x1b[31m"),
    ("a transport of 5000 letters", ["run", "--transport", "a" * 5000], "unknown transport 'aaa"),
    ("a pattern almost right", ["run", "--transport", "sse", "--pattern", "fanout"], "got 'fanout'; did you mean fan-out?"),
    ("arrivals in capitals", ["run", "--transport", "sse", "--arrivals", "Poisson"], "got 'Poisson'; did you mean poisson?"),
    ("an option without a name", ["run", "--transport", "sse", "--option", "=5"], "--option must be NAME=VALUE: got '=5'"),
    ("a sparse rate of 0", ["compare", "--sparse-rate", "0"], "--sparse-rate must be above 0, up to 1000000: got 0"),
    ("a sparse part of years", ["compare", "--sparse-duration", "99999h"], "--sparse-duration must be above 0s, up to 168h"),
    ("a sparse part that no memory holds", ["compare", "--sparse-rate", "1000", "--sparse-duration", "24h"], "--sparse-rate 1000 in --sparse-duration 86400s gives more than 20000000 deliveries"),
    ("a rate of a part left out", ["compare", "--no-sparse", "--sparse-rate", "5"], "--sparse-rate is for the sparse part, which --no-sparse leaves out"),
    ("a server that runs already, for all", ["compare", "--url", "tcp://127.0.0.1:1"], "--url tcp://... is of no transport here; such are http://... (long-polling)"),
    ("a URL without a port", ["run", "--transport", "sse", "--url", "http://127.0.0.1"], "--url must have a scheme, a host and a port"),
    ("a URL with a port out of range", ["run", "--transport", "sse", "--url", "http://127.0.0.1:99999"], "Port out of range"),
    ("a URL of another machine", ["run", "--transport", "sse", "--url", "http://192.0.2.1:80"], "name it again with --allow-host 192.0.2.1"),
    ("an option of another command", ["run", "--transport", "sse", "--connections", "5"], "rtbench run has no --connections; idle, security have it"),
    ("an option misspelt", ["run", "--trails", "5"], "rtbench run has no --trails; did you mean --trials?"),
    ("an option cut short", ["run", "--subs", "5"], "rtbench run has no --subs; did you mean --subscribers?"),
    ("a switch with a value", ["run", "--transport", "sse", "--tls=yes"], "'--tls' does not take a value"),
    ("one dash", ["run", "-transport", "sse"], "rtbench run has no -t; --help lists the options"),
    ("a word too many", ["run", "--transport", "sse", "mqtt"], "unexpected extra argument (mqtt)"),
    ("no connections", ["idle", "--connections", "0"], "--connections must be 1 to 99999: got 0"),
    ("a billion connections", ["idle", "--connections", "1000000000"], "--connections must be 1 to 99999: got 1000000000"),
    ("idle for years", ["idle", "--duration", "87600h"], "--duration must be above 0s, up to 168h: got 87600h"),
    ("a rate of idle connections", ["idle", "--rate", "5"], "rtbench idle has no --rate; run, compare, capacity, forecast, guarantees, sweep have it"),
    ("an --out of no letters", ["run", "--transport", "sse", "--out", ""], "--out: the path is empty"),
    ("an --out too long", ["run", "--transport", "sse", "--out", "x" * 300], "--out: the path cannot be: File name too long"),
    ("an --out with a NUL", ["idle", "--out", "a\0b"], "--out: the path cannot be: embedded null byte"),
    ("a --config of no letters", ["run", "--config", ""], "--config: the path is empty"),
    ("no result to rerun", ["rerun"], "Missing argument 'RESULT'"),
    ("a result of no letters", ["rerun", ""], "RESULT: the path is empty"),
    ("a result with a NUL", ["resume", "a\0b"], "RESULT: the path cannot be: embedded null byte"),
    ("a result that is a file", ["show", "file"], "cannot be read"),
    ("a result too many", ["show", "full", "full"], "unexpected extra argument (full)"),
    ("trials of a rerun", ["rerun", "full", "--trials", "5"], "rtbench rerun has no --trials; run, compare, capacity, export, laws, security, sweep have it"),
    ("an --out of a resumption", ["resume", "full", "--out", "x"], "rtbench resume has no --out"),
    ("nothing to compare with", ["diff", "full"], "give a second result, --baseline VARIANT or --aa"),
    ("two ways to compare", ["diff", "full", "--aa", "--baseline", "sse"], "--baseline and --aa do not go together"),
    ("a second result that colours the terminal", ["diff", "full", "\x1b[31m"], "holds no result"),
    ("two kinds of data", ["export", "full", "--summary", "--trials"], "--summary and --trials are 2 files; ask for one at a time"),
    ("data of a result and of all", ["export", "full", "--schema"], "--schema needs no RESULT"),
    ("data of nothing", ["export"], "RESULT is missing"),
    ("an export into a directory", ["export", "full", "--out", "full"], "is a directory"),
    ("a chart that is none", ["chart", str(REFERENCE), "--chart", "latency_ecdf"], "--chart must be one of latency-ecdf"),
    ("a format that is none", ["chart", str(REFERENCE), "--format", "gif"], "--format must be one of png, svg, pdf: got 'gif'"),
    ("a preset that is none", ["chart", str(REFERENCE), "--preset", ""], "--preset must be one of slides, paper, dark: got ''"),
    ("a word for the doctor", ["doctor", "now"], "unexpected extra argument (now)"),
    ("JSON from the doctor", ["doctor", "--json"], "rtbench doctor has no --json"),
    ("a word for the transports", ["transports", "sse"], "unexpected extra argument (sse)"),
    ("a command that is none", [""], "No such command ''"),
    ("a command that colours the terminal", ["\x1b[31m"], "No such command '\\x1b[31m'"),
    ("an option of no command", ["--vers"], "rtbench has no --vers; did you mean --version?"),
]  # fmt: skip
REFUSED_TO_SERVE = [
    ("serving an unknown transport", ["serve", "pigeon"], "unknown transport 'pigeon'"),
    ("a user without a password", ["serve", "mqtt", "--username", "u"], "--username and a password"),
    ("an option that a server does not take", ["serve", "sse", "--max-queued-messages", "5"], "takes no --max-queued-messages"),
    ("a certificate without its key", ["serve", "sse", "--tls-cert", "file"], "--tls-cert and --tls-key go together"),
    ("a certificate that is none", ["serve", "sse", "--tls-cert", "file", "--tls-key", "file"], "cannot use file as a TLS certificate"),
    ("an address that is not ours", ["serve", "sse", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    ("a server whose name is misspelt", ["serve", "websockets"], "did you mean websocket?"),
    ("a port out of range", ["serve", "sse", "--port", "99999"], "99999 is not in the range"),
    ("a capacity without end", ["serve", "sse", "--capacity", "inf"], "--capacity must be a whole number: got 'inf'"),
    ("a certificate with a NUL", ["serve", "sse", "--tls-cert", "a\0b", "--tls-key", "file"], "--tls-cert: the path cannot be"),
    ("an empty password", ["serve", "mqtt", "--username", "u", "--password-file", "/dev/null"], "has no password on its first line"),
    ("a password that is no text", ["serve", "mqtt", "--username", "u", "--password-file", "bytes"], "--password-file bytes is not a text in UTF-8"),
]  # fmt: skip
VARIABLES = [
    (["run", "--transport", "sse"], {"RTBENCH_RAET": "5"}, "RTBENCH_RAET is the name of no option; did you mean RTBENCH_RATE?"),
    (["run", "--transport", "sse"], {"RTBENCH_TRIALS": "0"}, "(--trials is from the variable RTBENCH_TRIALS)"),
    (["run", "--transport", "sse"], {"RTBENCH_PAYLOAD": "3"}, "(--payload is from the variable RTBENCH_PAYLOAD)"),
    (["run", "--transport", "sse"], {"RTBENCH_RATE": "fast"}, "(--rate is from the variable RTBENCH_RATE)"),
    (["run", "--transport", "sse"], {"RTBENCH_NOSUCH": "5"}, "the variable RTBENCH_NOSUCH is the name of no option\n"),
    (["run", "--transport", "sse"], {"RTBENCH_DURATION": "1s 2s 1h"}, "(--duration is from the variable RTBENCH_DURATION)"),
    (["run", "--transport", "sse"], {"RTBENCH_TLS": "perhaps"}, "the variable RTBENCH_TLS: 'perhaps' is not yes or no"),
    (["run", "--transport", "sse"], {"RTBENCH_CHART": "x"}, "the variable RTBENCH_CHART: 'x' is not yes or no"),
    (["compare"], {"RTBENCH_QOS": "0 7"}, "mqtt has no --qos 7"),
    (["rerun", str(REFERENCE)], {"RTBENCH_RAET": "5"}, "RTBENCH_RAET is the name of no option; did you mean RTBENCH_RATE?"),
    (["resume", str(REFERENCE)], {"RTBENCH_RAET": "5"}, "RTBENCH_RAET is the name of no option; did you mean RTBENCH_RATE?"),
    (["idle"], {"RTBENCH_RAET": "5"}, "RTBENCH_RAET is the name of no option; did you mean RTBENCH_RATE?"),
]  # fmt: skip


@pytest.mark.process
@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize(("arguments", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_input_gets_one_line_and_exit_code_2(
    directory: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (directory / "file").write_text("something = of the user's\n")
    (directory / "unknown.toml").write_text('colour = "red"\n')
    (directory / "full").mkdir()
    (directory / "full" / "kept").write_text("kept")
    (directory / "damaged").mkdir()
    (directory / "damaged" / "result.json").write_text('{"schema": 1')
    before = sorted(path.name for path in directory.rglob("*"))
    assert said in refused(arguments, capsys)
    assert sorted(path.name for path in directory.rglob("*")) == before


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "said"), [row[1:] for row in REFUSED_TO_SERVE], ids=[row[0] for row in REFUSED_TO_SERVE]
)
def test_a_server_that_cannot_be_started_is_refused_in_one_line(
    directory: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (directory / "file").write_text("something = of the user's\n")
    (directory / "bytes").write_bytes(b"\xff\xfe")
    assert said in refused(arguments, capsys)
    assert sorted(path.name for path in directory.iterdir()) == ["bytes", "file"]


@pytest.mark.process
@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize(("arguments", "variables", "said"), VARIABLES, ids=[row[2][:50] for row in VARIABLES])
def test_a_wrong_variable_is_named(
    directory: Path,
    arguments: list[str],
    variables: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert said in refused(arguments, capsys)
    assert list(directory.iterdir()) == []


@pytest.mark.process
def test_a_variable_of_another_command_is_no_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTBENCH_CONNECTIONS", "5")  # of `idle`
    monkeypatch.setenv("RTBENCH_PASSWORD", "secret")  # of `serve`
    assert run_program(["run", "--transport", "pigeon"]) == 2
    assert "unknown transport" in capsys.readouterr().err


def test_commands_that_measure_nothing_ignore_variables(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTBENCH_RAET", "5")
    for command in ("show", "export", "chart"):
        assert "full holds no result" in refused([command, "full"], capsys)


def test_only_what_looks_alike_is_suggested() -> None:
    assert did_you_mean("xyz", ["run", "compare"]) == ""
    assert did_you_mean("COMPARE", ["run", "compare"]) == "; did you mean compare?"
    assert did_you_mean("--nosuch", ["--notes"], "--") == ""
    assert did_you_mean("--pub", ["--rate", "--publishers"], "--") == "; did you mean --publishers?"
