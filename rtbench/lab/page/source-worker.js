// The source: one event goes to all lanes, in an order that is shuffled for each event, so that no lane is always first.
//
// The page sends {do: "open", lanes, topics, options}, then {do: "start", publishers, rate_hz, payload_bytes}, {do: "stop"},
// {do: "one", label} and {do: "close"}. The Worker answers {ready}, rows {sent: [lane, sequence, due_ms, sent_ms, ...],
// acked: [lane, sequence, at_ms, ...], failed: [lane, sequence, ...]} and, after the last row of `sent`, {stopped}.

import { now_ms } from "./clock.js";
import { transport } from "./lanes/index.js";
import { due_ms } from "./pace.js";
import { build } from "./payload.js";

const REPORT_EVERY_MS = 33;

/** @typedef {{lane: import("./types.js").Lane, publisher: import("./types.js").Publisher, number: number, next: number}} Way */

/** @type {Way[]} */
let ways = [];
let payload_bytes = 100;
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
  else if (asked.do === "stop") stop();
  else if (asked.do === "one") one(asked.label);
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
    ways.push({ lane, publisher: publisher(lane, topics[lane.label], options[lane.label]), number: 0, next: 0 });
  }
  await Promise.allSettled(ways.map((way) => way.publisher.ready));
  postMessage({ ready: true });
}

/** @param {{publishers: Record<string, number>, rate_hz: number, payload_bytes: number}} asked */
function start(asked) {
  payload_bytes = asked.payload_bytes;
  for (const way of ways) way.number = asked.publishers[way.lane.label];
  const times = { start_ms: now_ms() + 50, period_ms: 1000 / asked.rate_hz, lanes: ways.length };
  let order = ways;
  /** @param {number} number */
  const due = (number) => {
    const place = number % ways.length;
    if (place === 0) order = shuffled(ways);
    send(order[place], Math.floor(number / ways.length), due_ms(times, number));
    report();
  };
  stop_ticking = self.crossOriginIsolated ? tick_apart(times, due) : tick_here(times, due);
}

/**
 * @param {import("./pace.js").Times} times
 * @param {(number: number) => void} due
 */
function tick_apart(times, due) {
  const stop = new SharedArrayBuffer(4);
  const { port1, port2 } = new MessageChannel();
  const ticker = new Worker(new URL("ticker-worker.js", import.meta.url), { type: "module" });
  port1.onmessage = (event) => due(event.data);
  ticker.postMessage({ stop, port: port2, times }, [port2]);
  return () => {
    Atomics.store(new Int32Array(stop), 0, 1);
    Atomics.notify(new Int32Array(stop), 0);
    port1.close();
  };
}

/**
 * @param {import("./pace.js").Times} times
 * @param {(number: number) => void} due
 */
function tick_here(times, due) {
  let number = 0;
  let timeout = /** @type {ReturnType<typeof setTimeout> | 0} */ (0);
  wait();
  return () => clearTimeout(timeout);

  function wait() {
    while (due_ms(times, number) <= now_ms()) due(number++);
    timeout = setTimeout(wait, due_ms(times, number) - now_ms());
  }
}

function stop() {
  stop_ticking();
  tell();
  postMessage({ stopped: true });
}

/** Sends one message more, on one lane. @param {string} label */
function one(label) {
  const way = ways.find((each) => each.lane.label === label);
  if (way) send(way, way.next, now_ms());
  report();
}

/**
 * @param {Way} way
 * @param {number} number
 * @param {number} at_ms when it is due
 */
function send(way, number, at_ms) {
  const lane = way.lane.number;
  way.next = number + 1;
  const content = build(way.number, number, at_ms, payload_bytes);
  sent.push(lane, number, at_ms, now_ms());
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
  timer ||= setTimeout(tell, REPORT_EVERY_MS);
}

function tell() {
  clearTimeout(timer);
  timer = 0;
  postMessage({ sent, acked, failed });
  sent = [];
  acked = [];
  failed = [];
}
