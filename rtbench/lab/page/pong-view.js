// The view of Pong: who plays, over which lanes, and what the game felt like.

import { Board } from "./board.js";
import { draw_chart } from "./charts.js";
import { by_id, count_text, h, ms_text, notice } from "./dom.js";
import { Histogram } from "./ledger.js";
import { HEIGHT, WIDTH } from "./pong.js";
import { coloured } from "./view.js";

/** @typedef {import("./types.js").Lane} Lane */
/** @typedef {{lane: string, rtt_ms: number, jitter_ms: number, interval_ms: number, feeling: Feeling}} Felt */

const KEY_PX = 14; // for each frame in which a key is down
const LEAST_FRAMES = 120; // two seconds, before a figure is shown

/** What a game felt like over a lane at a round-trip time. */
class Feeling {
  constructor() {
    this.distance = new Histogram();
    this.age = new Histogram();
  }

  /**
   * @param {number} distance_px
   * @param {number} age_ms
   */
  add(distance_px, age_ms) {
    this.distance.add(distance_px);
    this.age.add(age_ms);
  }
}

export class PongView {
  /**
   * @param {HTMLElement} into
   * @param {any} hello
   * @param {import("./live.js").Live} live
   * @param {() => import("./settings.js").Settings} settings
   * @param {(name: string, value: string) => void} keep keeps a setting in the address
   */
  constructor(into, hello, live, settings, keep) {
    this.hello = hello;
    this.live = live;
    this.settings = settings;
    this.keep = keep;
    /** @type {Board[]} */
    this.boards = [];
    /** @type {Map<string, Felt>} */
    this.felt = new Map();
    /** @type {Set<string>} */
    this.keys = new Set();
    this.frames = 0;
    this.running = false;
    this.make(into);
    addEventListener("keydown", (event) => this.key(event, true));
    addEventListener("keyup", (event) => this.key(event, false));
  }

  /** @param {HTMLElement} into */
  make(into) {
    const lanes = (/** @type {string} */ id, /** @type {boolean} */ may_be_none) =>
      h("select", { id }, ...(may_be_none ? [h("option", { value: "" }, "none")] : []),
        ...this.hello.lanes.map((/** @type {Lane} */ lane) => h("option", { value: lane.label }, lane.label)));
    const roles = [["computer", "against the computer"], ["p1", "player 1 (left)"], ["p2", "player 2 (right)"]];
    const rtt = h("input", { type: "number", id: "pong-rtt", min: 0, max: 2000, step: "any", disabled: !this.hello.lecturer });
    into.replaceChildren(
      h("p", { className: "actions" },
        h("label", {}, "Play ", h("select", { id: "pong-role" }, ...roles.map(([value, text]) => h("option", { value }, text)))),
        h("label", {}, "Game ", h("input", { id: "pong-id", size: 8, pattern: "[A-Za-z0-9]{1,12}" })),
        h("label", {}, "Lane ", lanes("pong-lane", false)),
        h("label", {}, "beside it ", lanes("pong-beside", true)),
        h("label", {}, "Round-trip time ", rtt, " ms"),
        h("button", { type: "button", id: "pong-start", className: "main" }, "Play"),
        h("button", { type: "button", id: "pong-stop", hidden: true }, "Stop")),
      h("p", { className: "faint" }, "Move with ↑ and ↓ (or W and S), the mouse, or a finger. The coloured ball is where the messages say; " +
        "the white ring is where it really is."),
      h("p", { id: "pong-links", className: "faint" }),
      h("div", { id: "pong-games", className: "games" }),
      h("table", { id: "pong-felt", hidden: true },
        h("caption", {}, "What the game felt like: how far the ball on the screen is from the real one"),
        h("thead", {}, h("tr", {}, ...["Lane", "round-trip time", "frames", "distance p50", "p90", "late by p50", "p90"].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody")),
      h("figure", {}, h("div", { id: "pong-chart" }), h("figcaption", { id: "pong-caption" })),
    );
    by_id("pong-start").onclick = () => this.start();
    by_id("pong-stop").onclick = () => this.stop();
    for (const name of ["role", "id", "lane", "beside"]) {
      by_id(`pong-${name}`).onchange = () => {
        this.keep(`pong-${name}`, by_id(`pong-${name}`).value);
        this.show_links();
        if (this.running) this.start();
      };
    }
    rtt.onchange = () => {
      const jitter_ms = Math.min(Number(this.settings().jitter), Number(rtt.value));
      this.live.ask("network", { rtt_ms: Number(rtt.value), jitter_ms }).catch((error) => notice(error.message, true));
    };
  }

  /** Fills the view with the settings of the address. */
  open() {
    const settings = this.settings();
    const labels = this.hello.lanes.map((/** @type {Lane} */ lane) => lane.label);
    by_id("pong-role").value = ["p1", "p2"].includes(String(settings["pong-role"])) ? settings["pong-role"] : "computer";
    by_id("pong-id").value = /^[A-Za-z0-9]{1,12}$/.test(String(settings["pong-id"] ?? "")) ? settings["pong-id"] : "1";
    by_id("pong-lane").value = labels.includes(settings["pong-lane"]) ? settings["pong-lane"] : "mqtt-qos0";
    by_id("pong-beside").value = labels.includes(settings["pong-beside"]) ? settings["pong-beside"] : "";
    by_id("pong-rtt").value = settings.rtt;
    this.show_links();
  }

  show_links() {
    const role = by_id("pong-role").value;
    const id = by_id("pong-id").value;
    const lane = this.hello.lanes.find((/** @type {Lane} */ each) => each.label === by_id("pong-lane").value);
    const parts = [];
    if (role !== "computer") {
      const other = new URLSearchParams({ view: "pong", "pong-role": role === "p1" ? "p2" : "p1", "pong-id": id, "pong-lane": lane.label });
      if (by_id("pong-beside").value) other.set("pong-beside", by_id("pong-beside").value);
      parts.push("The other player opens ", h("a", { href: `#${other}`, target: "_blank", rel: "noopener" }, "this address"), ". ");
    }
    if (lane.plain_port) {
      const { username, password } = this.hello.login;
      const login = this.settings().broker === "embedded" ? "" : ` -u ${username} -P ${password}`;
      const command = `mosquitto_sub -h ${location.hostname} -p ${lane.plain_port}${login} -t 'pong/#' -v`;
      parts.push("Every message, in a terminal: ", h("code", {}, command));
    }
    by_id("pong-links").replaceChildren(...parts);
  }

  start() {
    this.stop();
    const id = by_id("pong-id").value;
    if (!/^[A-Za-z0-9]{1,12}$/.test(id)) {
      notice("The name of a game has 1 to 12 letters and digits.", true);
      return;
    }
    notice("");
    const labels = [by_id("pong-lane").value, by_id("pong-beside").value].filter(Boolean);
    const games = by_id("pong-games");
    games.replaceChildren();
    labels.forEach((label, at) => {
      const lane = this.hello.lanes.find((/** @type {Lane} */ each) => each.label === label);
      const canvas = h("canvas", { tabIndex: 0, role: "img", "aria-label": `Pong over ${label}` });
      canvas.style.aspectRatio = `${WIDTH} / ${HEIGHT}`;
      const words = h("p", { className: "faint", role: "status" });
      const title = h("h2", {}, label);
      coloured(title, lane);
      games.append(h("section", {}, title, canvas, words));
      const sample = (/** @type {number} */ px, /** @type {number} */ ms) => this.feel(label, px, ms);
      const board = new Board(canvas, words, lane, by_id("pong-role").value, at ? `${id}x${at + 1}` : id, this.settings, this.hello.login, sample);
      canvas.onpointermove = (/** @type {PointerEvent} */ event) => this.move((event.offsetY / canvas.clientHeight) * HEIGHT);
      this.boards.push(board);
    });
    this.running = true;
    by_id("pong-start").hidden = true;
    by_id("pong-stop").hidden = false;
    requestAnimationFrame(() => this.frame());
  }

  stop() {
    for (const board of this.boards.splice(0)) board.close();
    this.running = false;
    by_id("pong-start").hidden = false;
    by_id("pong-stop").hidden = true;
    this.show_felt();
  }

  /** Leaves the view. */
  close() {
    if (this.running) this.stop();
  }

  /** @param {number} y */
  move(y) {
    for (const board of this.boards) board.move(y);
  }

  /**
   * @param {KeyboardEvent} event
   * @param {boolean} down
   */
  key(event, down) {
    const direction = { ArrowUp: "up", w: "up", ArrowDown: "down", s: "down" }[event.key];
    if (!direction || !this.running || /** @type {HTMLElement} */ (event.target).matches?.("input, select")) return;
    event.preventDefault();
    if (down) this.keys.add(direction);
    else this.keys.delete(direction);
  }

  frame() {
    if (!this.running) return;
    requestAnimationFrame(() => this.frame());
    const by = (this.keys.has("down") ? KEY_PX : 0) - (this.keys.has("up") ? KEY_PX : 0);
    if (by && this.boards.length) this.move(this.boards[0].mine + by);
    for (const board of this.boards) board.frame();
    this.frames += 1;
    if (this.frames % 60 === 0) this.show_felt();
  }

  /**
   * @param {string} lane
   * @param {number} distance_px
   * @param {number} age_ms
   */
  feel(lane, distance_px, age_ms) {
    const { rtt, jitter, interval } = this.settings();
    const key = `${lane} ${rtt} ${jitter} ${lane === "polling" ? interval : ""}`;
    let felt = this.felt.get(key);
    if (!felt) {
      felt = { lane, rtt_ms: Number(rtt), jitter_ms: Number(jitter), interval_ms: Number(interval), feeling: new Feeling() };
      this.felt.set(key, felt);
    }
    felt.feeling.add(distance_px, age_ms);
  }

  /** What is known well enough to be shown. */
  get known() {
    return [...this.felt.values()].filter(({ feeling }) => feeling.distance.total >= LEAST_FRAMES).sort((a, b) => a.rtt_ms - b.rtt_ms);
  }

  /** The same, as it is saved. */
  get saved() {
    return this.known.map(({ lane, rtt_ms, jitter_ms, interval_ms, feeling: { distance, age } }) => ({
      lane,
      rtt_ms,
      jitter_ms,
      interval_ms,
      frames: distance.total,
      distance_p50_px: distance.percentile(0.5),
      distance_p90_px: distance.percentile(0.9),
      age_p50_ms: age.percentile(0.5),
      age_p90_ms: age.percentile(0.9),
    }));
  }

  show_felt() {
    const known = this.known;
    by_id("pong-felt").hidden = !known.length;
    const rows = known.map(({ lane, rtt_ms, feeling }) => {
      const name = h("th", { scope: "row" }, lane);
      const { distance, age } = feeling;
      const cells = [`${rtt_ms} ms`, count_text(distance.total), `${ms_text(distance.percentile(0.5))} px`, `${ms_text(distance.percentile(0.9))} px`,
        `${ms_text(age.percentile(0.5))} ms`, `${ms_text(age.percentile(0.9))} ms`];
      return h("tr", {}, name, ...cells.map((text) => h("td", {}, text)));
    });
    by_id("pong-felt").querySelector("tbody").replaceChildren(...rows);
    const series = this.hello.lanes
      .map((/** @type {Lane} */ lane) => {
        const mine = known.filter((felt) => felt.lane === lane.label);
        return { lane, x: mine.map((felt) => felt.rtt_ms), y: mine.map((felt) => felt.feeling.distance.percentile(0.5)) };
      })
      .filter((/** @type {{x: number[]}} */ one) => one.x.length);
    if (!series.length) return;
    draw_chart(by_id("pong-chart"), series, { x: "round-trip time, ms", y: "distance p50, px", points: true, height: 260 });
    by_id("pong-caption").textContent = "How far the ball on the screen is from the real one: play at several round-trip times.";
  }
}
