// The ladder: what both ends sent for one message, taken from the real connections of a lane.

import { by_id, h } from "./dom.js";

/** @typedef {{at_ms: number, who: string, up: boolean, connection: number, bytes: number, title: string, text: string}} Step */

const WATCH_MS = 400; // beside four ways and the interval of polling

/**
 * Sends one message alone on a lane, and shows what passed meanwhile.
 * @param {import("./live.js").Live} live
 * @param {import("./run.js").Run} run
 * @param {import("./types.js").Lane} lane
 */
export async function show_ladder(live, run, lane) {
  await live.ask("trace", { lane: lane.label, on: true });
  run.one(lane.label);
  const interval_ms = lane.transport === "polling" ? Number(run.settings.interval) : 0;
  await new Promise((resolve) => setTimeout(resolve, WATCH_MS + 4 * Number(run.settings.rtt) + interval_ms));
  const { steps } = await live.ask("trace", { lane: lane.label, on: false });
  draw(lane.label, steps);
}

/**
 * @param {string} label
 * @param {Step[]} steps
 */
function draw(label, steps) {
  const bytes = steps.reduce((sum, step) => sum + step.bytes, 0);
  by_id("ladder-about").textContent =
    `${label}: one message, ${steps.length} steps, ${bytes} bytes (without the headers of TCP and IP). ` +
    "The times are those at which the link took what was sent.";
  const rows = steps.map((step) => {
    const told = h("td", {}, h("strong", {}, `${step.up ? "→" : "←"} ${step.title}`), ` (${step.who})`,
      step.text ? h("br") : null, step.text ? h("code", {}, step.text) : null);
    const empty = h("td");
    return h("tr", {}, h("td", {}, step.at_ms.toFixed(2)), ...(step.up ? [told, empty] : [empty, told]),
      h("td", {}, String(step.bytes)));
  });
  by_id("ladder-steps").querySelector("tbody").replaceChildren(...rows);
  by_id("ladder").hidden = false;
  by_id("ladder-title").focus();
}
