// Polling: ask again and again, whether or not there is something new.

import { ask, end_of, publisher, sleep } from "./http.js";

export { publisher };

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
    let due_ms = performance.now() + Math.random() * options.interval_ms; // pages do not ask at the same moment
    while (!closing.signal.aborted) {
      await sleep(due_ms - performance.now());
      due_ms += options.interval_ms * Math.max(1, Math.ceil((performance.now() - due_ms) / options.interval_ms));
      try {
        events.asked(1);
        const answer = await ask(url, cursor, {}, closing.signal);
        cursor = answer.cursor;
        if (answer.missed) events.missed(answer.missed);
        for (const message of answer.messages) events.got(message, answer.at_ms);
        events.state("open");
      } catch (error) {
        if (closing.signal.aborted) return;
        events.state("lost"); // the next request comes anyway
      }
    }
  }
}
