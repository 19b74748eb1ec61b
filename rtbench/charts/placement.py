"""Placement: positions of labels beside their lines, without overlap. Pure: pixels in, pixels out.

For each label there are candidate places around its anchors. The cost of a place grows with its distance from the line,
and with the lines and labels that it covers or that its leader crosses. Each label gets the cheapest place, given the
labels already placed. Then the labels are placed again in further rounds, given all other labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RINGS = (1.0, 2.0, 3.5, 5.5, 8.0, 11.0, 15.0, 20.0, 26.0, 34.0)  # times the gap
_DIRECTIONS = np.arange(16) * (2 * np.pi / 16)
_COVERED, _OWN_COVERED, _MARKED, _CROSSED = 40.0, 25.0, 9.0, 6.0  # in gaps of distance
_TAKEN, _OUTSIDE = 1e4, 1e5
_ROUNDS = 3
_KEPT = 400  # places of a label that are compared with the other labels
_SAMPLES = 24  # along a leader


class Box(NamedTuple):
    """A rectangle; y grows upwards."""

    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True)
class Label:
    """A label to place: its size, the line that it belongs to, and the points of the line where it may be (anchors).

    `line` and `anchors` have shape (points, 2); `extra` is the additional cost of each anchor, in gaps. The marker of
    the line is in the middle of the cheapest anchors.
    """

    width: float
    height: float
    line: NDArray[np.float64]
    anchors: NDArray[np.float64]
    extra: NDArray[np.float64]

    @property
    def marker(self) -> NDArray[np.float64]:
        """The position of the marker of the line."""
        return np.asarray(self.anchors[self.extra <= self.extra.min() + 1].mean(axis=0))


class Place(NamedTuple):
    """The centre of a label, its anchor on the line, and the distance between them."""

    x: float
    y: float
    anchor: tuple[float, float]
    away: float


def place(labels: Sequence[Label], bounds: Box, gap: float) -> list[Place]:
    """Return a place for every label within `bounds`; `gap` is the usual distance between a label and its line."""
    ground = _Ground(labels, bounds, gap)
    markers = np.array([label.marker for label in labels])
    choices = [_choice(number, label, ground, markers) for number, label in enumerate(labels)]
    places: list[Place | None] = [None] * len(labels)
    for number in itertools.chain(*[range(len(labels))] * _ROUNDS):
        others = [(label, p) for n, (label, p) in enumerate(zip(labels, places, strict=True)) if p and n != number]
        places[number] = _best(labels[number], choices[number], others, gap)
    return [p for p in places if p is not None]


def column(wanted: Sequence[float], distance: float, bounds: tuple[float, float]) -> list[float]:
    """Return heights as close as possible to the wanted ones (least squares), at least `distance` apart.

    This is isotonic regression of the heights minus the space of the labels below: neighbours out of order are pooled.
    """
    order = np.argsort(wanted, kind="stable")
    low, high = bounds
    distance = min(distance, (high - low) / max(len(wanted) - 1, 1))
    pools: list[list[float]] = []
    for place_below, number in enumerate(order):
        pools.append([wanted[number] - place_below * distance])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    level = np.array([np.mean(pool) for pool in pools for _ in pool])
    level = level.clip(low, high - (len(wanted) - 1) * distance) + distance * np.arange(len(wanted))
    heights = np.empty(len(wanted))
    heights[order] = level
    return [float(height) for height in heights]


class _Ground:
    """The lines as a grid of cells, one layer for each line, with cumulative sums to test boxes quickly."""

    def __init__(self, labels: Sequence[Label], bounds: Box, gap: float) -> None:
        self.bounds, self.gap = bounds, gap
        self.cell = max(gap / 3, 1.0)
        shape = (
            len(labels),
            int((bounds.top - bounds.bottom) / self.cell) + 2,
            int((bounds.right - bounds.left) / self.cell) + 2,
        )
        self.cells = np.zeros(shape, dtype=bool)
        for number, label in enumerate(labels):
            column, row = self._cells(*_dense(label.line, self.cell).T)
            self.cells[number, row, column] = True
        self.sums = np.pad(self.cells, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)

    def _cells(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        column = ((x - self.bounds.left) / self.cell).astype(np.int64)
        row = ((y - self.bounds.bottom) / self.cell).astype(np.int64)
        return column.clip(0, self.cells.shape[2] - 1), row.clip(0, self.cells.shape[1] - 1)

    def covered(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which lines each box covers, shape (lines, boxes); a box is (left, bottom, right, top)."""
        left, bottom = self._cells(boxes[:, 0], boxes[:, 1])
        right, top = self._cells(boxes[:, 2], boxes[:, 3])
        s = self.sums
        inside = s[:, top + 1, right + 1] - s[:, bottom, right + 1] - s[:, top + 1, left] + s[:, bottom, left]
        return np.asarray(inside > 0)

    def crossed(self, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which lines each straight leader crosses, shape (lines, leaders)."""
        steps = np.linspace(0, 1, _SAMPLES)[:, None]
        x, y = (start[:, axis] + steps * (end[:, axis] - start[:, axis]) for axis in (0, 1))
        column, row = self._cells(x, y)
        return np.asarray(self.cells[:, row, column].any(axis=1))


def _dense(line: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return points along a polyline, at most `step` apart."""
    if len(line) < 2:
        return line
    lengths = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.linspace(0, along[-1], int(along[-1] / step) + 2)
    return np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=1)


class _Choice(NamedTuple):
    """Candidate places of a label: anchor, centre, end of the leader, distance, and cost without other labels."""

    anchor: NDArray[np.float64]
    centre: NDArray[np.float64]
    near: NDArray[np.float64]
    away: NDArray[np.float64]
    cost: NDArray[np.float64]


def _choice(number: int, label: Label, ground: _Ground, markers: NDArray[np.float64]) -> _Choice:
    """Return the cheapest places of a label without regard to other labels."""
    anchor, centre, away, cost = _candidates(label, ground.gap)
    half = np.array([label.width, label.height]) / 2
    boxes = np.hstack([centre - half, centre + half])
    covered = ground.covered(boxes)
    cost = cost + _COVERED * covered.sum(axis=0) + (_OWN_COVERED - _COVERED) * covered[number]
    near = centre + (anchor - centre) * _share_outside(anchor - centre, half)[:, None]
    crossed = ground.crossed(anchor, near)
    cost += _CROSSED * (crossed.sum(axis=0) - crossed[number])
    cost += _OUTSIDE * _outside(boxes, ground.bounds)
    best = np.argsort(cost, kind="stable")[:_KEPT]
    anchor, centre, near, away, cost = (a[best] for a in (anchor, centre, near, away, cost))
    for marker in np.delete(markers, number, axis=0):
        around = np.concatenate([marker - 0.6 * ground.gap, marker + 0.6 * ground.gap])
        cost += _MARKED * _any_inside(anchor, near, around)
    return _Choice(anchor, centre, near, away, cost)


def _best(label: Label, choice: _Choice, others: Sequence[tuple[Label, Place]], gap: float) -> Place:
    """Return the cheapest place, given the labels already placed."""
    half = np.array([label.width, label.height]) / 2
    boxes = np.hstack([choice.centre - half, choice.centre + half])
    cost = choice.cost.copy()
    for other, there in others:
        reach, middle, start = (
            np.array([other.width, other.height]) / 2,
            np.array([there.x, there.y]),
            np.array(there.anchor),
        )
        margin = reach + half + gap * np.array([0.6, 0.25])
        cost += _TAKEN * (np.abs(choice.centre - middle) < margin).all(axis=1)
        cost += _COVERED * _passes(start, middle, boxes)
        cost += _MARKED * _intersect(choice.anchor, choice.near, start, middle)
        reach = reach + 0.3 * gap
        cost += _COVERED * _any_inside(choice.anchor, choice.near, np.concatenate([middle - reach, middle + reach]))
    best = int(np.argmin(cost))
    (x, y), (anchor_x, anchor_y) = choice.centre[best], choice.anchor[best]
    return Place(float(x), float(y), (float(anchor_x), float(anchor_y)), float(choice.away[best]))


def _candidates(label: Label, gap: float) -> tuple[NDArray[np.float64], ...]:
    """Return anchors, centres, distances and costs of all candidate places."""
    at, ring, angle = (
        a.ravel() for a in np.meshgrid(np.arange(len(label.anchors)), _RINGS, _DIRECTIONS, indexing="ij")
    )
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    anchor = label.anchors[at]
    size = np.array([label.width, label.height]) / 2
    centre = anchor + direction * (ring * gap)[:, None] + np.clip(direction * 1.5, -1, 1) * size
    return anchor, centre, ring * gap, ring + label.extra[at]


def _share_outside(to_anchor: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the way from a centre to its anchor at which the box of the label ends."""
    with np.errstate(divide="ignore"):
        share: NDArray[np.float64] = np.min(half / np.abs(to_anchor), axis=1)
    return np.minimum(share, 1.0)


def _outside(boxes: NDArray[np.float64], bounds: Box) -> NDArray[np.bool_]:
    left, bottom, right, top = boxes.T
    return np.asarray((left < bounds.left) | (bottom < bounds.bottom) | (right > bounds.right) | (top > bounds.top))


def _passes(start: NDArray[np.float64], end: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which boxes a leader passes through."""
    x, y = (start + np.linspace(0, 1, _SAMPLES)[:, None] * (end - start)).T[:, :, None]
    left, bottom, right, top = boxes.T
    return np.asarray(((x >= left) & (x <= right) & (y >= bottom) & (y <= top)).any(axis=0))


def _intersect(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    other_start: NDArray[np.float64],
    other_end: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which leaders cross another one: the ends of each lie on different sides of the other."""

    def side(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.bool_]:
        u, v = b - a, c - a
        return np.asarray(u[..., 0] * v[..., 1] > u[..., 1] * v[..., 0])

    apart = side(other_start, other_end, start) != side(other_start, other_end, end)
    return np.asarray(apart & (side(start, end, other_start) != side(start, end, other_end)))


def _any_inside(start: NDArray[np.float64], end: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which leaders pass through a box."""
    steps = np.linspace(0, 1, _SAMPLES)[:, None]
    x, y = (start[:, axis] + steps * (end[:, axis] - start[:, axis]) for axis in (0, 1))
    return np.asarray(((x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])).any(axis=0))
