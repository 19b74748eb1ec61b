"""MQTT topic names and topic filters: what is allowed, and which filter matches which name.

A message is published on a name (`room/7/temperature`). A subscriber asks for a filter, which may contain wildcards
(`room/+/temperature`, `room/#`). This file knows text only; `mqtt.py` knows the bytes.
"""

from __future__ import annotations


def is_topic_name(text: str) -> bool:
    """Return whether a message may be published on `text`: MQTT 3.1.1 sections 3.3.2.1 and 4.7.3."""
    # [MQTT-4.7.3-1] at least one character, [MQTT-4.7.3-2] no U+0000, [MQTT-3.3.2-2] no wildcards.
    return text != "" and "\0" not in text and "+" not in text and "#" not in text


def is_topic_filter(text: str) -> bool:
    """Return whether a client may subscribe to `text`: MQTT 3.1.1 sections 4.7.1 and 4.7.3."""
    if text == "" or "\0" in text:  # [MQTT-4.7.3-1], [MQTT-4.7.3-2]
        return False
    if "+" not in text and "#" not in text:
        return True
    *parents, last = text.split("/")
    # [MQTT-4.7.1-2] "#" is a level of its own, and the last one; [MQTT-4.7.1-3] "+" is a level of its own.
    if any("#" in level for level in parents) or ("#" in last and last != "#"):
        return False
    return all(level == "+" or "+" not in level for level in (*parents, last))


def covers(topic_filter: str, other: str) -> bool:
    """Return whether a valid filter matches every topic that another valid filter, or topic name, matches."""
    if other[0] == "$" and topic_filter[0] in "+#":
        return False  # [MQTT-4.7.2-1]
    mine, others = topic_filter.split("/"), other.split("/")
    if mine[-1] == "#":
        mine.pop()  # section 4.7.1.2: "sport/#" also matches "sport" itself
        others = others[: len(mine)]
    return len(mine) == len(others) and all(
        m == o or (m == "+" and o != "#") for m, o in zip(mine, others, strict=True)
    )


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether a valid filter matches a valid topic name: MQTT 3.1.1 section 4.7."""
    if topic[0] == "$" and topic_filter[0] in "+#":
        return False  # [MQTT-4.7.2-1]
    wanted = topic_filter.split("/")
    levels = topic.split(
        "/", len(wanted)
    )  # a topic may have 65,535 levels; no more than the filter has are of interest
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]  # section 4.7.1.2: "sport/#" also matches "sport" itself
    return len(wanted) == len(levels) and all(w in ("+", level) for w, level in zip(wanted, levels, strict=True))
