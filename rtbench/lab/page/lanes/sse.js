// Server-Sent Events: ask once, and the answer does not end. The browser itself connects again, and says with
// Last-Event-ID where it was.

import { now_ms } from "../clock.js";
import { publisher } from "./http.js";

export { publisher };

/**
 * @param {import("../types.js").Lane} lane
 * @param {string} topic
 * @param {import("../types.js").LaneOptions} options
 * @param {import("../types.js").Events} events
 * @returns {import("../types.js").Subscription}
 */
export function subscribe(lane, topic, options, events) {
  const source = new EventSource(`${lane.subscribe}/${topic}`);
  events.asked(1);
  source.onopen = () => events.state("open");
  source.onmessage = (event) => events.got(event.data, now_ms());
  source.addEventListener("missed", (event) => events.missed(Number(event.data)));
  source.onerror = () => {
    events.state("lost");
    if (options.reconnect === "none") source.close();
    else if (source.readyState === EventSource.CONNECTING) events.asked(1);
  };
  return { close: () => source.close() };
}
