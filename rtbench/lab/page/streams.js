// Six event streams at once, and why the seventh hangs.

import { announce, by_id, h } from "./dom.js";

export class Streams {
  /** @param {string} origin of the lane of SSE */
  constructor(origin) {
    this.origin = origin;
    /** @type {{source: EventSource, asked_ms: number, line: HTMLElement, state: HTMLElement}[]} */
    this.open = [];
    by_id("open-stream").onclick = () => this.add();
    by_id("one-fetch").onclick = () => this.fetch();
    by_id("close-streams").onclick = () => this.close_one();
  }

  add() {
    const asked_ms = performance.now();
    const source = new EventSource(`${this.origin}/streams`);
    const state = h("span", {}, "waiting for a connection");
    const line = h("li", {}, "Event stream: ", state);
    const stream = { source, asked_ms, line, state };
    source.onopen = () => {
      state.textContent = `open after ${(performance.now() - asked_ms).toFixed(0)} ms`;
      announce(`event stream ${this.open.indexOf(stream) + 1} is open`);
    };
    this.open.push(stream);
    by_id("streams").append(line);
  }

  async fetch() {
    const asked_ms = performance.now();
    const state = h("span", {}, "waiting for a connection");
    by_id("streams").append(h("li", { className: "faint" }, "Request: ", state));
    const answer = await fetch(`${this.origin}/streams`, { method: "HEAD" }).catch(() => null);
    state.textContent = answer ? `answered after ${(performance.now() - asked_ms).toFixed(0)} ms` : "failed";
  }

  close_one() {
    const first = this.open.shift();
    first?.source.close();
    first?.line.remove();
  }

  /** Closes all of them. */
  close() {
    while (this.open.length) this.close_one();
    by_id("streams").replaceChildren();
  }
}
