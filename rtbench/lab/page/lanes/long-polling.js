// Long-polling: ask, wait for the answer, ask again at once.

import { ask, delay_ms, end_of, publisher, sleep } from "./http.js";

export { publisher };

const PREFER = "wait=30"; // seconds (RFC 7240, section 4.3)

/**
 * @param {import("../types.js").Lane} lane
 * @param {string} topic
 * @param {import("../types.js").LaneOptions} options
 * @param {import("../types.js").Events} events
 * @returns {import("../types.js").Subscription}
 */
export function subscribe(lane, topic, options, events) {
  const url = `${lane.subscribe}/${topic}`;
  const closing = new AbortController();
  run().catch(() => events.state("lost"));
  return { close: () => closing.abort() };

  async function run() {
    let cursor = await end_of(url, closing.signal);
    events.state("open");
    let attempt = 0;
    while (!closing.signal.aborted) {
      try {
        events.asked(1);
        const answer = await ask(url, cursor, { Prefer: PREFER }, closing.signal);
        cursor = answer.cursor;
        if (answer.missed) events.missed(answer.missed);
        for (const message of answer.messages) events.got(message, answer.at_ms);
        if (attempt) events.state("open");
        attempt = 0;
      } catch (error) {
        if (closing.signal.aborted) return;
        events.state("lost");
        const wait_ms = delay_ms(options.reconnect, attempt++);
        if (wait_ms === null) return;
        await sleep(wait_ms);
        if (options.reconnect === "naive") cursor = await end_of(url, closing.signal).catch(() => cursor);
      }
    }
  }
}
