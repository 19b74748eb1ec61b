// A session as it is saved: the counts of each lane, and the times of the messages that the page has kept.

import { step_ms } from "./clock.js";
import { KEPT } from "./ledger.js";

/**
 * @param {import("./run.js").Run} run
 * @param {import("./predict.js").Prediction | null} prediction
 * @param {import("./view.js").LanesView} view
 * @param {{fault: string, lanes: string[], from_ms: number, to_ms: number}[]} faults on the page's clock
 * @param {object[]} pong
 */
export function recorded(run, prediction, view, faults, pong) {
  const origin_ms = run.origin_ms;
  const lanes = Object.fromEntries(run.lanes.map((lane) => [lane.label, of_lane(run, lane, view, origin_ms)]));
  return {
    created: new Date(run.started_ms).toISOString(),
    settings: run.settings,
    prediction,
    faults: faults.filter((fault) => fault.to_ms > origin_ms).map((fault) => ({ ...fault, from_ms: rounded(fault.from_ms - origin_ms), to_ms: rounded(fault.to_ms - origin_ms) })),
    pong,
    browser: navigator.userAgent,
    clock_step_ms: step_ms(),
    lanes,
  };
}

/**
 * @param {import("./run.js").Run} run
 * @param {import("./types.js").Lane} lane
 * @param {import("./view.js").LanesView} view
 * @param {number} origin_ms
 */
function of_lane(run, lane, view, origin_ms) {
  const ledger = run.ledger(lane);
  const first = Math.max(0, ledger.published - KEPT);
  const places = Array.from({ length: ledger.published - first }, (_, i) => (first + i) % KEPT);
  const times = (/** @type {Float64Array} */ all) => places.map((at) => rounded(all[at] - origin_ms));
  const wire = view.wire_of(lane);
  return {
    subscribers: ledger.subscribers,
    published: ledger.published,
    acked: ledger.acked,
    failed: ledger.failed,
    delivered: ledger.delivered,
    duplicated: ledger.duplicated,
    lost: ledger.lost(Infinity),
    hidden: ledger.hidden,
    was_hidden: ledger.got_ms.map((got) => places.map((at) => Number(run.was_hidden(got[at])))),
    requests: ledger.requests,
    missed_told: ledger.missed,
    disconnections: ledger.disconnections,
    relayed: view.relayed(lane),
    wire_up_bytes: wire && wire.up,
    wire_down_bytes: wire && wire.down,
    due_ms: times(ledger.due_ms),
    sent_ms: times(ledger.sent_ms),
    acked_ms: times(ledger.acked_ms),
    got_ms: ledger.got_ms.map(times),
  };
}

/** @param {number} ms */
function rounded(ms) {
  return Number.isNaN(ms) ? null : Math.round(ms * 1000) / 1000;
}
