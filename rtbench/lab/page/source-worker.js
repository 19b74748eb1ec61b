// The source: one event goes to all lanes, in an order that is shuffled for each message, so that no lane is always first.
//
// The page sends {do: "open", lanes, topics, options}, then {do: "start", publishers, rate_hz, payload_bytes}, {do: "stop"},
// {do: "one", label} and {do: "close"}. The Worker answers {ready} and rows {sent: [lane, sequence, due_ms, sent_ms, ...],
// acked: [lane, sequence, at_ms, ...], failed: [lane, sequence, ...]}.

import { now_ms } from "./clock.js";
import { transport } from "./lanes/index.js";
import { build } from "./payload.js";

const REPORT_EVERY_MS = 16;

/** @typedef {{lane: import("./types.js").Lane, publisher: import("./types.js").Publisher, number: number}} Way */

/** @type {Way[]} */
let ways = [];
let payload_bytes = 100;
let sequence = 0;
/** @type {number[]} */
let sent = [];
/** @type {number[]} */
let acked = [];
/** @type {number[]} */
let failed = [];
let timer = /** @type {ReturnType<typeof setTimeout> | 0} */ (0);
/** @type {() => void} */
let stop_ticking = () => undefined;

addEventListener("message", async (event) => {
  const asked = event.data;
  if (asked.do === "open") await open(asked.lanes, asked.topics, asked.options);
  else if (asked.do === "start") start(asked);
  else if (asked.do === "stop") stop_ticking();
  else if (asked.do === "one") await one(asked.label);
  else if (asked.do === "close") {
    stop_ticking();
    for (const way of ways) way.publisher.close();
    ways = [];
  }
});

/**
 * @param {import("./types.js").Lane[]} lanes
 * @param {Record<string, string>} topics
 * @param {Record<string, import("./types.js").LaneOptions>} options
 */
async function open(lanes, topics, options) {
  for (const lane of lanes) {
    const { publisher } = await transport(lane.transport);
    ways.push({ lane, publisher: publisher(lane, topics[lane.label], options[lane.label]), number: 0 });
  }
  await Promise.allSettled(ways.map((way) => way.publisher.ready));
  postMessage({ ready: true });
}

/** @param {{publishers: Record<string, number>, rate_hz: number, payload_bytes: number}} asked */
function start(asked) {
  sequence = 0;
  payload_bytes = asked.payload_bytes;
  for (const way of ways) way.number = asked.publishers[way.lane.label];
  const period_ms = 1000 / asked.rate_hz;
  const start_ms = now_ms() + 50;
  /** @param {number} number */
  const due = (number) => publish(ways, start_ms + number * period_ms);
  stop_ticking = self.crossOriginIsolated ? tick_apart(start_ms, period_ms, due) : tick_here(start_ms, period_ms, due);
}

/**
 * @param {number} start_ms
 * @param {number} period_ms
 * @param {(number: number) => void} due
 */
function tick_apart(start_ms, period_ms, due) {
  const stop = new SharedArrayBuffer(4);
  const { port1, port2 } = new MessageChannel();
  const ticker = new Worker(new URL("ticker-worker.js", import.meta.url), { type: "module" });
  port1.onmessage = (event) => due(event.data);
  ticker.postMessage({ stop, port: port2, start_ms, period_ms }, [port2]);
  return () => {
    Atomics.store(new Int32Array(stop), 0, 1);
    Atomics.notify(new Int32Array(stop), 0);
    port1.close();
  };
}

/**
 * @param {number} start_ms
 * @param {number} period_ms
 * @param {(number: number) => void} due
 */
function tick_here(start_ms, period_ms, due) {
  let number = 0;
  let timeout = /** @type {ReturnType<typeof setTimeout> | 0} */ (0);
  wait();
  return () => clearTimeout(timeout);

  function wait() {
    while (start_ms + number * period_ms <= now_ms()) due(number++);
    timeout = setTimeout(wait, start_ms + number * period_ms - now_ms());
  }
}

/**
 * @param {Way[]} to
 * @param {number} due_ms
 */
function publish(to, due_ms) {
  const number = sequence++;
  for (const way of shuffled(to)) send(way, number, due_ms);
  report();
}

/** @param {string} label */
async function one(label) {
  publish(ways.filter((way) => way.lane.label === label), now_ms());
}

/**
 * @param {Way} way
 * @param {number} number
 * @param {number} due_ms
 */
function send(way, number, due_ms) {
  const lane = way.lane.number;
  const content = build(way.number, number, due_ms, payload_bytes);
  sent.push(lane, number, due_ms, now_ms());
  way.publisher.publish(content).then(
    (is_acked) => {
      if (is_acked) acked.push(lane, number, now_ms());
      report();
    },
    () => {
      failed.push(lane, number);
      report();
    },
  );
}

/**
 * A random order (Fisher and Yates).
 * @template T
 * @param {T[]} list
 */
function shuffled(list) {
  const mixed = [...list];
  for (let last = mixed.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    [mixed[last], mixed[other]] = [mixed[other], mixed[last]];
  }
  return mixed;
}

function report() {
  timer ||= setTimeout(() => {
    timer = 0;
    postMessage({ sent, acked, failed });
    sent = [];
    acked = [];
    failed = [];
  }, REPORT_EVERY_MS);
}
