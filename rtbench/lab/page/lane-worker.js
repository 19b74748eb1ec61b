// The Worker of a lane: it subscribes, and stamps what arrives. It shares its thread with no other lane.
//
// The page sends {do: "open", lane, topic, subscribers, options} and {do: "close"}; the Worker answers with rows
// {rows: [subscriber, sequence, at_ms, ...], requests, missed, open, lost}, at most once in 33 ms.

import { transport } from "./lanes/index.js";
import { parse } from "./payload.js";

const REPORT_EVERY_MS = 33;

/** @type {import("./types.js").Subscription[]} */
let subscriptions = [];
/** @type {boolean[]} */
let is_open = [];
let publisher_number = 0;
/** @type {number[]} */
let rows = [];
let requests = 0;
let missed = 0;
let lost = 0; // connections
let timer = /** @type {ReturnType<typeof setTimeout> | 0} */ (0);

addEventListener("message", async (event) => {
  const asked = event.data;
  if (asked.do === "close") {
    for (const subscription of subscriptions) subscription.close();
    subscriptions = [];
    is_open = [];
  } else if (asked.do === "open") {
    publisher_number = asked.publisher;
    await open(asked.lane, asked.topic, asked.subscribers, asked.options);
  }
});

/**
 * @param {import("./types.js").Lane} lane
 * @param {string} topic
 * @param {number} subscribers
 * @param {import("./types.js").LaneOptions} options
 */
async function open(lane, topic, subscribers, options) {
  const { subscribe } = await transport(lane.transport);
  is_open = Array(subscribers).fill(false);
  for (let number = 0; number < subscribers; number += 1) {
    subscriptions.push(
      subscribe(lane, topic, { ...options, name: `${options.name}-${number}` }, {
        got(payload, at_ms) {
          const found = parse(payload);
          if (found?.publisher !== publisher_number) return; // it is not of this run
          rows.push(number, found.sequence, at_ms);
          report();
        },
        asked(count) {
          requests += count;
          report();
        },
        missed(count) {
          missed += count;
          report();
        },
        state(state) {
          if (state === "lost" && is_open[number]) lost += 1;
          is_open[number] = state === "open";
          report();
        },
      }),
    );
  }
}

function report() {
  timer ||= setTimeout(() => {
    timer = 0;
    postMessage({ rows, requests, missed, lost, open: is_open.filter(Boolean).length });
    rows = [];
  }, REPORT_EVERY_MS);
}
