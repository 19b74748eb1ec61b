// Predict, then measure: the order of the lanes and a median for each, written down before Start; both side by side after.

import { announce, by_id, h, ms_text } from "./dom.js";
import { coloured } from "./view.js";

/** @typedef {import("./types.js").Lane} Lane */
/** @typedef {{order: string[], p50_ms: Record<string, number | null>}} Prediction */

export class Predict {
  constructor() {
    /** @type {Lane[]} */
    this.lanes = [];
    /** @type {Record<string, string>} */
    this.guesses = {};
  }

  /** Shows these lanes; those that were there keep their place. @param {Lane[]} lanes */
  show(lanes) {
    const place = new Map(this.lanes.map((lane, at) => [lane.label, at]));
    this.lanes = [...lanes].sort((a, b) => (place.get(a.label) ?? 99) - (place.get(b.label) ?? 99));
    this.draw();
  }

  draw() {
    by_id("prediction").replaceChildren(...this.lanes.map((lane, at) => this.line(lane, at)));
  }

  /**
   * @param {Lane} lane
   * @param {number} at
   */
  line(lane, at) {
    const name = h("span", { className: "name" }, lane.label);
    coloured(name, lane);
    const guess = h("input", { type: "number", min: "0", max: "60000", step: "any", value: this.guesses[lane.label] ?? "" });
    guess.setAttribute("aria-label", `median of ${lane.label}, in ms`);
    guess.oninput = () => (this.guesses[lane.label] = guess.value);
    return h("li", {}, name, this.mover(at, -1, "↑", "faster"), this.mover(at, 1, "↓", "slower"), " p50 ", guess, " ms");
  }

  /**
   * @param {number} at
   * @param {number} by
   * @param {string} sign
   * @param {string} meaning
   */
  mover(at, by, sign, meaning) {
    const lane = this.lanes[at];
    const button = h("button", { type: "button", disabled: !this.lanes[at + by] }, sign);
    button.setAttribute("aria-label", `${lane.label}: ${meaning}`);
    button.onclick = () => {
      [this.lanes[at], this.lanes[at + by]] = [this.lanes[at + by], this.lanes[at]];
      this.draw();
      announce(`${lane.label} is now at place ${at + by + 1}`);
      const moved = by_id("prediction").children[at + by].querySelectorAll("button");
      (moved[by < 0 ? 0 : 1].disabled ? moved[by < 0 ? 1 : 0] : moved[by < 0 ? 0 : 1]).focus();
    };
    return button;
  }

  /** What was predicted. @returns {Prediction} */
  get prediction() {
    const p50_ms = Object.fromEntries(
      this.lanes.map(({ label }) => [label, this.guesses[label] ? Number(this.guesses[label]) : null]),
    );
    return { order: this.lanes.map((lane) => lane.label), p50_ms };
  }
}

/**
 * Shows a prediction and what was measured, side by side.
 * @param {Lane[]} lanes
 * @param {Prediction | null} prediction
 * @param {(lane: Lane) => number | null} p50_of
 * @param {((lane: Lane) => void) | null} why opens the packets of a message; null where there are no servers
 */
export function reveal(lanes, prediction, p50_of, why) {
  const ranked = [...lanes].sort((a, b) => (p50_of(a) ?? Infinity) - (p50_of(b) ?? Infinity));
  const rows = ranked.map((lane, at) => {
    const name = h("th", { scope: "row" }, lane.label);
    coloured(name, lane);
    const said = prediction ? prediction.order.indexOf(lane.label) + 1 : 0;
    const guess = prediction?.p50_ms[lane.label];
    let button = null;
    if (why) {
      button = h("button", { type: "button", id: `why-${lane.label}` }, "Why?");
      button.setAttribute("aria-label", `Why? The packets of one message of ${lane.label}`);
      button.onclick = () => why(lane);
    }
    return h("tr", {}, h("td", {}, String(at + 1)), name,
      h("td", {}, said ? `place ${said}${said === at + 1 ? " ✓" : ""}` : "–"),
      h("td", {}, guess === null || guess === undefined ? "–" : `${ms_text(guess)} ms`),
      h("td", {}, `${ms_text(p50_of(lane))} ms`), h("td", {}, button));
  });
  by_id("revealed").querySelector("tbody").replaceChildren(...rows);
  by_id("reveal").hidden = false;
}
