"""Storage: a result as a directory.

A result directory is complete in itself: it is read without the machine and the transports it was measured with.

    result.json     settings with their sources, environment, variants, trials, verdicts, and the SHA-256 of every file
                    of samples and of itself; written anew after each trial
    samples/        every message and every delivery, one compressed file a trial
    summary.csv     a row a variant
    trials.csv      a row a trial; both are derived, for whoever has no rtbench
    charts/         where `rtbench chart` draws

Each file is written at once or not at all. What is read was written so: a result of which anything is missing, cut
short, exchanged or edited is refused. That protects against accidents; whoever edits on purpose can compute the sums
again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, get_origin, get_type_hints

import numpy as np

from rtbench.errors import ResultError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA = 4
MAX_DESCRIPTION_BYTES = 256 * 2**20  # of result.json
MAX_SAMPLES_BYTES = 4 * 2**30  # of a file of samples, unpacked

_T = TypeVar("_T")
REMEDY = "copy the whole directory again, or measure again"
BROKEN = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError, MemoryError),
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error),
)


def write_description(path: Path, description: Mapping[str, Any]) -> None:
    """Write result.json: the description, the sums of its files of samples, and its own."""
    before = _files_before(path)
    trials = [*description["trials"], *(trial for part in description.get("sparse", []) for trial in part["trials"])]
    names = [trial["samples"] for trial in trials if "samples" in trial]
    files = {name: before.get(name) or _sum_of((path / name).read_bytes()) for name in names}
    content = {**description, "files": files}
    content["sha256"] = content_sha256(content)
    write_text(path / "result.json", json.dumps(content, indent=1) + "\n")


def content_sha256(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the content of result.json without its own: as JSON, keys sorted, no blanks, in ASCII."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _files_before(path: Path) -> dict[str, Any]:
    """Return the sums that stand in result.json: a file of samples is never written twice, nor summed twice."""
    try:
        files: dict[str, Any] = json.loads((path / "result.json").read_text(encoding="utf-8")).get("files", {})
    except FileNotFoundError:
        return {}
    return files


def _sum_of(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_samples(file: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write the samples of a trial."""
    with _whole(file) as opened:
        np.savez_compressed(opened, **columns)  # type: ignore[arg-type]


def samples_name(index: int, part: str = "") -> str:
    """Return where the samples of a trial are, within the result; `part` is the beginning of the name."""
    return f"samples/{part}{index:03d}.npz"


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old content or the new, never a part."""
    with _whole(path) as file:
        file.write(text.encode())


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write; it is there once all is written, and no part of it is left where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def claim(path: Path) -> None:
    """Make the directory of a new result.

    Raises:
        UsageError: it cannot be written, or holds something already.
    """
    if path.suffix in (".csv", ".json"):
        raise UsageError(f"--out {path}: a result is a directory; `rtbench export RESULT --out FILE` writes CSV")
    if path.exists() and not path.is_dir():
        raise UsageError(f"--out {path} is a file; give a directory that is new or empty")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise UsageError(f"--out {path} is not empty; give a directory that is new or empty")
        write_text(path / "result.json", "{}\n")
    except OSError as error:
        raise UsageError(f"--out {path} cannot be written: {error.strerror}") from error


def directory_of(path: str | Path) -> Path:
    """Return the directory of a result that is named by it, or by the result.json in it."""
    directory = Path(path)
    return directory.parent if directory.name == "result.json" else directory


def read_description(directory: Path) -> dict[str, Any]:
    """Return the content of result.json, its schema and its sum checked.

    Raises:
        ResultError: there is none, another rtbench wrote it, or it is not as it was written.
    """
    file = directory / "result.json"
    try:
        content = json.loads(_content(file, MAX_DESCRIPTION_BYTES).decode(), parse_constant=_no_number)
    except FileNotFoundError:
        raise ResultError(f"{directory} holds no result (no result.json in it)") from None
    except RecursionError:
        raise ResultError(f"{file} is nested too deeply for a result; {REMEDY}") from None
    except (OSError, ValueError) as error:
        raise ResultError(f"{file} cannot be read: {error}; {REMEDY}") from None
    if not isinstance(content, dict):
        raise ResultError(f"{file} is not a result of rtbench; {REMEDY}")
    if content.get("schema") != SCHEMA:
        raise ResultError(
            f"{file} has schema {content.get('schema')}, and this rtbench reads {SCHEMA}; "
            "read it with the rtbench that wrote it, or measure again"
        )
    if content.get("sha256") != content_sha256(content):
        raise ResultError(f"{file} was edited after it was written (its SHA-256 is another); {REMEDY}")
    return content


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON (RFC 8259, section 6)")


def _content(file: Path, most_bytes: int) -> bytes:
    """Return the content of a file.

    Raises:
        ResultError: it is no regular file (a pipe would wait for ever), or larger than `most_bytes`.
    """
    handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ResultError(f"{file} is no regular file; {REMEDY}")
        if status.st_size > most_bytes:
            raise ResultError(f"{file} has {status.st_size} bytes; a result has at most {most_bytes}; {REMEDY}")
        with os.fdopen(handle, "rb", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(handle)


def damaged(directory: Path, error: Exception) -> ResultError:
    """Return the error that says that the content of a result makes no sense."""
    return ResultError(f"{directory} is damaged: {type(error).__name__}: {error}; {REMEDY}")


def read_samples(directory: Path, name: str, files: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the columns of a file of samples.

    Raises:
        ResultError: the file is missing, or is not as it was written.
    """
    raw = io.BytesIO(_checked(directory, name, files))
    unpacked = sum(member.file_size for member in zipfile.ZipFile(raw).infolist())
    if unpacked > MAX_SAMPLES_BYTES:
        raise ResultError(
            f"{directory / name} unpacks to {unpacked} bytes; a result has at most {MAX_SAMPLES_BYTES}; {REMEDY}"
        )
    with np.load(raw, allow_pickle=False) as samples:
        return dict(samples)


def made(cls: type[_T], values: Mapping[str, Any]) -> _T:
    """Make a dataclass, and those nested in it, of what was saved; a field with a default may be missing.

    Raises:
        TypeError: another field is missing, or there is one too many.
    """
    nested = _nested(cls)  # type: ignore[arg-type]
    given = {name: _made_value(nested.get(name), value) for name, value in values.items()}
    return cls(**{name: tuple(value) if name in _tuples(cls) else value for name, value in given.items()})  # type: ignore[arg-type]


def _made_value(kind: type[Any] | None, value: Any) -> Any:
    if kind is None:
        return value
    if isinstance(value, list):
        return [_made_value(kind, each) for each in value]
    return made(kind, value) if isinstance(value, Mapping) else value


@cache
def _tuples(cls: type[Any]) -> set[str]:
    """Return the fields that are tuples, which JSON has as arrays."""
    return {name for name, hint in get_type_hints(cls).items() if get_origin(hint) is tuple}


@cache
def _nested(cls: type[Any]) -> dict[str, type[Any]]:
    """Return the fields that are dataclasses themselves, or None in place of one."""
    found = {}
    for name, hint in get_type_hints(cls).items():
        for kind in (hint, *getattr(hint, "__args__", ())):
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                found[name] = kind
    return found


def _checked(directory: Path, name: str, files: Mapping[str, Any]) -> bytes:
    """Return the content of a file of samples, which is what was written.

    Raises:
        ResultError: it is not, or it is not to be found.
    """
    file = directory / name
    try:
        raw = _content(file, MAX_SAMPLES_BYTES)
    except FileNotFoundError:
        raise ResultError(f"{file} is missing; {REMEDY}") from None
    expected, found = files[name], _sum_of(raw)
    if found == expected:
        return raw
    owner = next((other for other, its in files.items() if its == found), None)
    if owner is not None:
        raise ResultError(f"{file} holds what belongs in {owner}; {REMEDY}")
    if found["bytes"] < expected["bytes"]:
        raise ResultError(f"{file} is cut short: {found['bytes']} bytes of {expected['bytes']}; {REMEDY}")
    raise ResultError(f"{file} was changed after it was written (its SHA-256 is another); {REMEDY}")
