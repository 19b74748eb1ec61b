from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtbench.wire import http

# What a delimiter is made of, much more often than chance would have it
tricky = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"m", b"mm", b" ", b"\r\n--m", b"x"])).map(b"".join)
messages = st.lists(st.binary() | tricky, min_size=1, max_size=6)


def read_by_another(content_type: str, body: bytes) -> list[bytes]:
    """Read a multipart body with Python's email package."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    whole = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    assert isinstance(whole, EmailMessage)
    assert not whole.defects
    parts = list(whole.iter_parts())
    assert not any(part.defects or part.keys() for part in parts)
    return [content for part in parts if isinstance(content := part.get_payload(decode=True), bytes)]


@given(messages)
@example([b"", b""])
@example([b"--m", b"--mm", b"\r\n--m--"])
@example([b"\r\n", b"\r\n\r\n", b"-", b"\r"])
def test_what_was_joined_is_split_again(sent: list[bytes]) -> None:
    assert http.split(*http.join(sent)) == sent


@given(messages.filter(lambda sent: len(sent) > 1))
@example([b"", b""])
@example([b"--m", b"--mm", b"\r\n--m--"])
def test_another_reader_of_multipart_finds_the_same_messages(sent: list[bytes]) -> None:
    content_type, body = http.join(sent)
    assert content_type.startswith("multipart/mixed;")
    assert read_by_another(content_type, body) == sent


@given(st.binary())
def test_a_single_message_is_the_body_as_it_is(message: bytes) -> None:
    assert http.join([message]) == ("application/octet-stream", message)


def test_the_overhead_of_many_messages_is_small_and_even() -> None:
    sizes = [len(http.join([b"x" * 100] * count)[1]) for count in (2, 3, 1000)]
    assert sizes[1] - sizes[0] - 100 <= 16
    assert sizes[2] - sizes[0] == 998 * (sizes[1] - sizes[0])


@pytest.mark.parametrize(
    ("content_type", "body", "parts"),
    [
        pytest.param("multipart/mixed; boundary=xyz", b"--xyz\r\n\r\none\r\n--xyz--\r\n", [b"one"], id="one part"),
        pytest.param(
            'Multipart/Mixed; charset=utf-8; boundary="x y"',
            b"--x y\r\n\r\none\r\n--x y\r\n\r\ntwo\r\n--x y--",
            [b"one", b"two"],
            id="a quoted boundary after another parameter",
        ),
        pytest.param(
            "multipart/mixed; boundary=xyz",
            b"--xyz\r\nContent-Type: text/plain\r\nETag: 1\r\n\r\none\r\n\r\ntwo\r\n--xyz--",
            [b"one\r\n\r\ntwo"],
            id="a part with a header, as nchan sends it",
        ),
        pytest.param(
            "multipart/mixed; boundary=xyz",
            b"for old mail readers\r\n--xyz\r\n\r\none\r\n--xyz--\r\nand good-bye",
            [b"one"],
            id="a preamble and an epilogue",
        ),
        pytest.param("multipart/mixed; boundary=xyz", b"--xyz--", [], id="no part at all"),
        pytest.param("text/plain", b"--m\r\n\r\none\r\n--m--", [b"--m\r\n\r\none\r\n--m--"], id="another type is one"),
        pytest.param("", b"one", [b"one"], id="no type is one"),
        pytest.param("application/octet-stream", b"", [b""], id="an empty body is an empty message"),
    ],
)
def test_a_body_is_split_as_its_type_says(content_type: str, body: bytes, parts: list[bytes]) -> None:
    assert http.split(content_type, body) == parts


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="an empty body"),
        pytest.param(b"one", id="no boundary"),
        pytest.param(b"--xyz\r\n\r\none", id="cut off in a part"),
        pytest.param(b"--xyz\r\n\r\none\r\n--xyz\r\n", id="cut off between two parts"),
        pytest.param(b"--xyz\r\none\r\n--xyz--", id="a part without an empty line"),
        pytest.param(b"--xyzone\r\n\r\ntwo\r\n--xyz--", id="a boundary that goes on"),
    ],
)
def test_a_body_that_is_not_what_its_type_says_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="multipart"):
        http.split("multipart/mixed; boundary=xyz", body)


@given(messages.filter(lambda sent: len(sent) > 1), st.data())
def test_a_body_cut_off_anywhere_is_an_error(sent: list[bytes], data: st.DataObject) -> None:
    content_type, body = http.join(sent)
    with pytest.raises(ValueError, match="multipart"):
        http.split(content_type, body[: data.draw(st.integers(0, len(body) - 1))])


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        pytest.param(None, 0, id="no preference"),
        pytest.param("", 0, id="an empty one"),
        pytest.param("wait=10", 10, id="the plain form"),
        pytest.param('wait="10"', 10, id="quoted, as RFC 7240 allows"),
        pytest.param("WAIT=10", 10, id="names know no case"),
        pytest.param("wait = 10", 10, id="space around the sign"),
        pytest.param("respond-async, wait=10", 10, id="the last of two"),
        pytest.param("wait=10, respond-async", 10, id="the first of two"),
        pytest.param("wait=10;foo=bar, handling=lenient", 10, id="with a parameter of its own"),
        pytest.param("wait=5, wait=10", 5, id="the first one counts, as RFC 7240 section 2 says"),
        pytest.param("wait=0", 0, id="not at all"),
        pytest.param("wait", 0, id="without a number"),
        pytest.param("wait=long", 0, id="a word"),
        pytest.param("wait=-5", 0, id="a negative number"),
        pytest.param("wait=1.5", 0, id="a fraction is no delta-seconds"),
        pytest.param("wait=10s", 0, id="a unit"),
        pytest.param("await=10", 0, id="another name that ends alike"),
        pytest.param("x-wait=10", 0, id="another name with a hyphen"),
        pytest.param("foo; wait=10", 0, id="a parameter of another preference"),
        pytest.param("wait=12345678", 12_345_678, id="a large number is not cut off"),
    ],
)
def test_the_preferred_wait_is_read(prefer: str | None, seconds: int) -> None:
    assert http.wait_s(prefer) == seconds
