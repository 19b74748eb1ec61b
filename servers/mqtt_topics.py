"""Who subscribes to what: a tree of topic levels. The cost of a message does not grow with the other subscriptions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Who = TypeVar("Who")

MAX_ROUTES = 10_000  # topics whose subscribers are remembered; above it all are forgotten, and found again


@dataclass(slots=True)
class _Level(Generic[Who]):
    children: dict[str, _Level[Who]] = field(default_factory=dict)
    subscribers: dict[Who, int] = field(default_factory=dict)


class Subscriptions(Generic[Who]):
    """Topic filters with the QoS granted to each subscriber.

    One level of the tree is one level of the filters, wildcards included: `room/+/light` is stored at `room`,
    `+`, `light`. The walk holds a list of levels and does not recurse: a topic may have 65,535 levels.
    """

    def __init__(self) -> None:
        self._root: _Level[Who] = _Level()
        self._routes: dict[str, dict[Who, int]] = {}

    def add(self, topic_filter: str, who: Who, qos: int) -> None:
        """Subscribe, or change the QoS of the same filter: [MQTT-3.8.4-3]."""
        level = self._root
        for name in topic_filter.split("/"):
            level = level.children.setdefault(name, _Level())
        level.subscribers[who] = qos
        self._routes.clear()

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
        self._routes.clear()

    def matching(self, topic: str) -> dict[Who, int]:
        """Return who gets a message on `topic`, and the highest QoS granted to each by a matching filter.

        A subscriber with overlapping filters is in it once, with the highest QoS [MQTT-3.3.5-1]. The result is
        remembered until a subscription changes: do not modify it.
        """
        found = self._routes.get(topic)
        if found is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            found = self._routes[topic] = self._find(topic)
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
        for level in here:
            _take(found, level)
            _take(found, level.children.get("#"))  # section 4.7.1.2: "sport/#" also matches "sport"
        return found


def _take(found: dict[Who, int], level: _Level[Who] | None) -> None:
    if level is not None:
        for who, qos in level.subscribers.items():
            found[who] = max(qos, found.get(who, 0))
