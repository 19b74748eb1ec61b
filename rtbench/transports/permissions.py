"""Permissions: which users a server knows, and on which topics each may publish and subscribe.

Users stand in a file, a line `NAME:PASSWORD` each. An access list is a file in the format of mosquitto's `acl_file`:

    user A
    topic readwrite devices/a/#
    topic read announcements

    pattern write devices/%u/state

`topic` gives the user above it a right on a topic filter: `read` (subscribe), `write` (publish) or `readwrite` (both,
also where none of the three stands there). `pattern` gives it to every user, with the name in the place of `%u`. What
no line allows is forbidden. A subscription needs a line whose filter covers all of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from typing import Annotated

from rtbench.errors import UsageError
from rtbench.system.secret import read_text
from rtbench.transports.options import Option
from rtbench.wire.topics import covers, is_topic_filter, matches

Users = Annotated[
    str | None, Option("the users who may connect: a line NAME:PASSWORD each", metavar="FILE", local=True)
]
AccessList = Annotated[
    str | None,
    Option("on which topics each user may publish and subscribe: as acl_file of mosquitto", metavar="FILE", local=True),
]

_RIGHTS = {"read": (True, False), "write": (False, True), "readwrite": (True, True)}
_USERNAME = "%u"
_NOT_IN_A_NAME = "+#/\"'\\"  # a name may stand in a topic filter, and in the configuration of a program


@dataclass(frozen=True)
class Right:
    """A line of an access list: a user may subscribe to a topic filter, publish on its topics, or both."""

    topic_filter: str
    may_subscribe: bool
    may_publish: bool


@dataclass(frozen=True)
class Permissions:
    """The passwords of the users, and the rights of each; `rights` is None where everybody may use every topic."""

    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    rights: dict[str, tuple[Right, ...]] | None = None

    @property
    def asks(self) -> bool:
        """Whether a client has to say who it is."""
        return bool(self.passwords)

    def knows(self, username: str, password: bytes) -> bool:
        """Return whether a user has this password; a user that there is not takes as long to refuse."""
        expected = self.passwords.get(username)
        same = compare_digest(password, (expected or "").encode())
        return same and expected is not None

    def may_publish(self, username: str | None, topic: str) -> bool:
        """Return whether a user may publish on a topic."""
        if self.rights is None:
            return True
        return any(r.may_publish and matches(r.topic_filter, topic) for r in self.rights.get(username or "", ()))

    def may_subscribe(self, username: str | None, topic_filter: str) -> bool:
        """Return whether a user may subscribe to a topic, or to all that a filter matches."""
        if self.rights is None:
            return True
        mine = self.rights.get(username or "", ())
        return any(right.may_subscribe and covers(right.topic_filter, topic_filter) for right in mine)


EVERYTHING = Permissions()  # for everybody


def permissions_of(
    username: str | None = None,
    password: str | None = None,
    users: str | None = None,
    access_list: str | None = None,
) -> Permissions:
    """Return the permissions that the options of a server name: one user, or files.

    Raises:
        UsageError: one option without the other, or a file that cannot be read or is none.
    """
    if (username is None) != (password is None):
        raise UsageError("--username and a password (--password-file or RTBENCH_PASSWORD) go together; one is missing")
    if username is not None and users is not None:
        raise UsageError("--username and --users exclude each other: add the user to the file")
    passwords = {} if username is None or password is None else {username: password}
    if users is not None:
        passwords = read_users(Path(users))
    if access_list is None:
        return Permissions(passwords)
    if not passwords:
        raise UsageError("--access-list needs users: give --users")
    return Permissions(passwords, _read_access_list(Path(access_list), passwords))


def read_users(path: Path) -> dict[str, str]:
    """Return the password of each user in a file.

    Raises:
        UsageError: the file cannot be read, has no user, or a line of it is no user.
    """
    found: dict[str, str] = {}
    for number, line in _lines("--users", path):
        name, colon, password = line.partition(":")
        if not (name and colon and password) or any(c.isspace() or c in _NOT_IN_A_NAME for c in name):
            raise UsageError(
                f"--users {path} line {number}: write NAME:PASSWORD, the name without space and "
                f"{' '.join(_NOT_IN_A_NAME)}"
            )
        if name in found:
            raise UsageError(f"--users {path} line {number}: {name} stands there twice")
        found[name] = password
    if not found:
        raise UsageError(f"--users {path} has no user")
    return found


def _read_access_list(path: Path, users: Iterable[str]) -> dict[str, tuple[Right, ...]]:
    found: dict[str, list[Right]] = {name: [] for name in users}
    of: list[str] = []  # the users that a line with `topic` is for; none before the first line with `user`
    for number, line in _lines("--access-list", path):
        where = f"--access-list {path} line {number}"
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word == "user" and rest:
            if rest not in found:
                raise UsageError(f"{where}: there is no user {rest!r}")
            of = [rest]
        elif word == "topic" and not of:
            raise UsageError(f"{where}: write `user NAME` before the first topic; nobody enters without a name")
        elif word in ("topic", "pattern") and rest:
            for name in of if word == "topic" else found:
                text = rest if word == "topic" else rest.replace(_USERNAME, name)
                found[name].append(_right(where, text))
        else:
            raise UsageError(f"{where}: write `user NAME`, or `topic` or `pattern` with a topic filter: got {line!r}")
    return {name: tuple(rights) for name, rights in found.items()}


def _right(where: str, text: str) -> Right:
    word, _, topic_filter = text.partition(" ")
    if word == "deny":
        raise UsageError(f"{where}: `deny` is not known: what no line allows is forbidden")
    if word not in _RIGHTS or not topic_filter:
        word, topic_filter = "readwrite", text
    topic_filter = topic_filter.strip()
    if not is_topic_filter(topic_filter):
        raise UsageError(f"{where}: {topic_filter!r} is no topic filter")
    return Right(topic_filter, *_RIGHTS[word])


def _lines(flag: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not empty and no comment, with their numbers."""
    for number, line in enumerate(read_text(flag, path).splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()
