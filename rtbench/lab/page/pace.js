// When the source sends: one event after the other, and each of them on one lane after the other.
//
// The lanes are a few milliseconds apart, so that they do not wait for each other at the cores of this machine; which lane
// is first is drawn anew for each event. Each message is due at its own time, and its latency counts from there.

const MOST_APART_MS = 10;

/** @typedef {{start_ms: number, period_ms: number, lanes: number}} Times */

/**
 * When send number `number` is due: `lanes` of them make an event.
 * @param {Times} times
 * @param {number} number from 0
 */
export function due_ms({ start_ms, period_ms, lanes }, number) {
  const apart_ms = Math.min(MOST_APART_MS, period_ms / lanes);
  return start_ms + Math.floor(number / lanes) * period_ms + (number % lanes) * apart_ms;
}
