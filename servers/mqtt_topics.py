"""Who subscribes to what: a tree of topic levels. The cost of a message does not grow with the other subscriptions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Who = TypeVar("Who")

MAX_ROUTE_CHARACTERS = 1024  # of a topic whose subscribers are remembered
MAX_ROUTES_BYTES = 16 * 2**20  # of all these topics; above it they are forgotten, and found again
MAX_LEVELS = 200  # of a filter; mosquitto's limit too. Section 4.7.3 sets none
LEVEL_BYTES = 512  # what a level of a filter takes in the tree


@dataclass(slots=True)
class _Level(Generic[Who]):
    children: dict[str, _Level[Who]] = field(default_factory=dict)
    subscribers: dict[Who, int] = field(default_factory=dict)


def filter_bytes(topic_filter: str) -> int:
    """Return about how many bytes a filter takes whose levels no other filter has."""
    return len(topic_filter) + LEVEL_BYTES * (topic_filter.count("/") + 1)


class Subscriptions(Generic[Who]):
    """Topic filters with the QoS granted to each subscriber.

    One level of the tree is one level of the filters, wildcards included: `room/+/light` is stored at `room`,
    `+`, `light`. The walk holds a list of levels and does not recurse: a topic may have 65,535 levels.
    """

    def __init__(self) -> None:
        self._root: _Level[Who] = _Level()
        self._routes: dict[str, dict[Who, int]] = {}
        self._routes_bytes = 0

    def add(self, topic_filter: str, who: Who, qos: int) -> None:
        """Subscribe, or change the QoS of the same filter: [MQTT-3.8.4-3]."""
        level = self._root
        for name in topic_filter.split("/"):
            level = level.children.setdefault(name, _Level())
        level.subscribers[who] = qos
        self._forget_routes(topic_filter)

    def remove(self, topic_filter: str, who: Who) -> None:
        """Unsubscribe; remove levels that are empty now."""
        path = [self._root]
        names = topic_filter.split("/")
        for name in names:
            child = path[-1].children.get(name)
            if child is None:
                return
            path.append(child)
        path[-1].subscribers.pop(who, None)
        for parent, name in zip(path[-2::-1], reversed(names), strict=True):
            child = parent.children[name]
            if child.children or child.subscribers:
                break
            del parent.children[name]
        self._forget_routes(topic_filter)

    def _forget_routes(self, topic_filter: str = "#") -> None:
        """Forget the routes that a filter may concern: its own, or with a wildcard all of them."""
        if "+" in topic_filter or "#" in topic_filter:
            self._routes.clear()
            self._routes_bytes = 0
        elif (found := self._routes.pop(topic_filter, None)) is not None:
            self._routes_bytes -= _route_bytes(topic_filter, found)

    def matching(self, topic: str) -> dict[Who, int]:
        """Return who gets a message on `topic`, and the highest QoS granted to each by a matching filter.

        A subscriber with overlapping filters is in it once, with the highest QoS [MQTT-3.3.5-1]. The result is
        remembered until a subscription changes: do not modify it.
        """
        found = self._routes.get(topic)
        if found is None:
            found = self._find(topic)
            if len(topic) > MAX_ROUTE_CHARACTERS:
                return found
            size = _route_bytes(topic, found)
            if self._routes_bytes + size > MAX_ROUTES_BYTES:
                self._forget_routes()
            self._routes[topic] = found
            self._routes_bytes += size
        return found

    def _find(self, topic: str) -> dict[Who, int]:
        found: dict[Who, int] = {}
        here = [self._root]
        for depth, name in enumerate(topic.split("/")):
            # [MQTT-4.7.2-1] a leading wildcard does not match a leading "$"
            wildcards = depth > 0 or name[:1] != "$"
            names = (name, "+") if wildcards else (name,)
            if wildcards:
                for level in here:
                    _take(found, level.children.get("#"))
            here = [child for level in here for n in names if (child := level.children.get(n))]
            if not here:
                break
        for level in here:
            _take(found, level)
            _take(found, level.children.get("#"))  # section 4.7.1.2: "sport/#" also matches "sport"
        return found


def _route_bytes(topic: str, found: dict[Any, int]) -> int:
    """Return about what a route takes: two objects, and an entry for each subscriber."""
    return 256 + len(topic) + 64 * len(found)


def _take(found: dict[Who, int], level: _Level[Who] | None) -> None:
    if level is not None:
        for who, qos in level.subscribers.items():
            found[who] = max(qos, found.get(who, 0))
