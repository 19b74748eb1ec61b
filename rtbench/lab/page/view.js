// The table of the lanes: a mark for every message, which moves while the message is under way, and the figures.
//
// The place of a mark is the age of its message. It starts at the left when the message is due, and stays where it was when
// the message came; then it fades. What is drawn is what was measured, and nothing else.

import { bytes_text, by_id, count_text, h, ms_text } from "./dom.js";
import { now_ms } from "./clock.js";
import { KEPT } from "./ledger.js";
import { Replay } from "./replay.js";

const SCALES_MS = [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000];
const FADE_MS = 1500; // less where many come
const MOST_FADING = 12;
const MARK_PX = 6;
const COLUMNS = ["last", "p50", "p99", "lost", "twice", "requests", "bytes", "sent"];
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

/** @typedef {import("./types.js").Lane} Lane */

/** @param {Lane} lane */
export function colour(lane) {
  return dark.matches ? lane.colours.dark : lane.colours.light;
}

/**
 * Writes an element in the colour of a lane, in light and dark.
 * @param {HTMLElement} element
 * @param {Lane} lane
 */
export function coloured(element, lane) {
  element.classList.add("of-lane");
  element.style.setProperty("--light", lane.text_colours.light);
  element.style.setProperty("--dark", lane.text_colours.dark);
  return element;
}

/** @type {Record<string, number[][]>} the corners of the markers, by their name in matplotlib; any other is a circle */
const CORNERS = {
  s: [[-1, -1], [1, -1], [1, 1], [-1, 1]],
  "^": [[0, -1.2], [1.1, 0.9], [-1.1, 0.9]],
  D: [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]],
  v: [[0, 1.2], [1.1, -0.9], [-1.1, -0.9]],
  P: [[-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]],
  X: [[-1.1, -1.1], [-0.4, -1.1], [0, -0.6], [0.4, -1.1], [1.1, -1.1], [0.6, 0], [1.1, 1.1], [0.4, 1.1], [0, 0.6], [-0.4, 1.1], [-1.1, 1.1], [-0.6, 0]],
};

/**
 * Adds the marker of a lane to a path, as the charts have it.
 * @param {CanvasPath} path
 * @param {string} marker
 * @param {number} x
 * @param {number} y
 * @param {number} r
 */
export function add_marker(path, marker, x, y, r) {
  const corners = CORNERS[marker] ?? [[1, 0]];
  path.moveTo(x + r * corners[0][0], y + r * corners[0][1]);
  for (const [dx, dy] of corners.slice(1)) path.lineTo(x + r * dx, y + r * dy);
  if (corners.length === 1) path.arc(x, y, r, 0, 2 * Math.PI);
  path.closePath();
}

/** The marker of a lane at 0, 0 with a radius of 1: a frame draws hundreds. @param {Lane} lane */
function mark_of(lane) {
  const mark = new Path2D();
  add_marker(mark, lane.marker, 0, 0, 1);
  return mark;
}

export class LanesView {
  /** @param {Lane[]} lanes */
  constructor(lanes) {
    this.lanes = lanes;
    /** @type {Map<string, {row: HTMLElement, canvas: HTMLCanvasElement, mark: Path2D, cells: Record<string, HTMLElement>}>} */
    this.rows = new Map();
    this.scale_ms = 1000;
    this.frames = 0;
    this.told = { frames: 0, at_ms: now_ms() };
    this.ink = inks();
    this.drawn_scale = "";
    /** @type {import("./run.js").Run | Replay | null} */
    this.run = null;
    /** @type {any} */
    this.counts = null;
    this.make();
    requestAnimationFrame(() => this.frame());
    setInterval(() => this.tell_rate(), 1000);
  }

  /** Says how many frames a second the page draws. */
  tell_rate() {
    const { frames, at_ms } = this.told; // a timer comes late when there is much to do, and then it counts more frames
    this.told = { frames: this.frames, at_ms: now_ms() };
    const rate_hz = (1000 * (this.frames - frames)) / (this.told.at_ms - at_ms);
    if (!document.hidden) by_id("frames").textContent = `${rate_hz.toFixed(0)} frames/s`;
  }

  make() {
    const body = by_id("lanes").querySelector("tbody");
    body.replaceChildren();
    this.rows.clear();
    for (const lane of this.lanes) {
      const canvas = h("canvas", { "aria-hidden": "true", height: 34 });
      /** @type {Record<string, HTMLElement>} */
      const cells = Object.fromEntries(COLUMNS.map((name) => [name, h("td", { "data-name": name }, "–")]));
      const name = h("th", { scope: "row" }, lane.label);
      coloured(name, lane);
      const row = h("tr", { id: `lane-${lane.label}` }, name, h("td", { className: "track" }, canvas), ...Object.values(cells));
      this.rows.set(lane.label, { row, canvas, mark: mark_of(lane), cells });
      body.append(row);
    }
  }

  /** @param {import("./run.js").Run | Replay} run */
  show(run) {
    this.run = run;
    for (const [label, { row }] of this.rows) row.hidden = !run.ledgers.has(label);
  }

  frame() {
    requestAnimationFrame(() => this.frame());
    this.frames += 1;
    if (!this.run || document.hidden || by_id("view-lanes").hidden) return;
    if (this.frames % 15 === 0) {
      this.ink = inks();
      this.write();
    }
    if (calm.matches && this.frames % 30) return;
    this.draw_axis();
    for (const lane of this.run.lanes) this.draw(lane, now_ms());
  }

  /** The figures, four times a second. */
  write() {
    const run = /** @type {import("./run.js").Run | Replay} */ (this.run);
    let most_ms = 0;
    for (const lane of run.lanes) {
      const ledger = run.ledger(lane);
      const { cells, row } = /** @type {any} */ (this.rows.get(lane.label));
      const p99 = ledger.percentile(0.99);
      most_ms = Math.max(most_ms, p99 ?? 0, ledger.last_ms ?? 0);
      set(cells.last, ms_text(ledger.last_ms));
      set(cells.p50, ms_text(ledger.percentile(0.5)));
      set(cells.p99, ms_text(p99));
      const lost = ledger.lost(run.settled ? Infinity : now_ms() - run.grace_ms);
      set(cells.lost, count_text(lost));
      cells.lost.classList.toggle("bad", lost > 0);
      set(cells.twice, count_text(ledger.duplicated));
      cells.twice.classList.toggle("bad", ledger.duplicated > 0);
      set(cells.requests, count_text(ledger.requests));
      set(cells.bytes, bytes_text(this.wire_bytes(lane)));
      const relayed = this.relayed(lane);
      set(cells.sent, `${count_text(ledger.published)} / ${relayed === null ? "–" : count_text(relayed)}`);
      row.classList.toggle("away", ledger.open < ledger.subscribers);
    }
    const wanted = SCALES_MS.find((scale) => scale >= 1.15 * most_ms) ?? 20000;
    if (wanted > this.scale_ms || wanted < this.scale_ms / 2.1) this.scale_ms = wanted;
  }

  /** How many messages of this run the server of a lane says that it relayed; null where it does not say. @param {Lane} lane */
  relayed(lane) {
    if (this.run instanceof Replay) return this.run.saved(lane).relayed;
    if (this.counts?.page !== this.run?.page || this.counts?.servers[lane.transport] !== "embedded") return null;
    return this.counts.relayed[lane.label];
  }

  /** Bytes on the wire of a lane since Start; null where the kernel does not tell. @param {Lane} lane */
  wire_bytes(lane) {
    const wire = this.wire_of(lane);
    return wire && wire.up + wire.down;
  }

  /** The same, by direction. @param {Lane} lane @returns {{up: number, down: number} | null} */
  wire_of(lane) {
    if (this.run instanceof Replay) {
      const { wire_up_bytes: up, wire_down_bytes: down } = this.run.saved(lane);
      return up === null ? null : { up, down };
    }
    const now = this.counts?.lanes[lane.label];
    const before = this.run?.passed_before[lane.label];
    if (!now || !before || now.up.wire_bytes === null) return null;
    const since = (/** @type {"up" | "down"} */ way) => Math.max(0, now[way].wire_bytes - before[way].wire_bytes);
    return { up: since("up"), down: since("down") };
  }

  draw_axis() {
    const key = `${this.scale_ms} ${by_id("axis").clientWidth} ${dark.matches}`;
    if (key === this.drawn_scale) return;
    this.drawn_scale = key;
    const { to, width, height } = prepared(by_id("axis"));
    to.fillStyle = this.ink.faint;
    to.font = "12px system-ui, sans-serif";
    for (let tick = 0; tick <= 5; tick += 1) {
      const x = MARK_PX + ((width - 2 * MARK_PX) * tick) / 5;
      to.textAlign = tick === 0 ? "left" : tick === 5 ? "right" : "center";
      to.fillText(`${(this.scale_ms * tick) / 5}${tick === 0 ? " ms" : ""}`, x, height - 5);
    }
  }

  /**
   * @param {Lane} lane
   * @param {number} at_ms
   */
  draw(lane, at_ms) {
    const { canvas, mark } = /** @type {any} */ (this.rows.get(lane.label));
    const { to, width, height, ratio } = prepared(canvas);
    const ledger = /** @type {import("./run.js").Run | Replay} */ (this.run).ledger(lane);
    const place = (/** @type {number} */ age_ms) => MARK_PX + (width - 2 * MARK_PX) * Math.min(1, age_ms / this.scale_ms);
    to.fillStyle = this.ink.grid;
    for (let tick = 0; tick <= 5; tick += 1) to.fillRect(Math.round(place((this.scale_ms * tick) / 5)), 0, 1, height);
    to.fillRect(0, height - 1, width, 1);
    to.fillStyle = colour(lane);
    const fade_ms = Math.min(FADE_MS, (1000 * MOST_FADING) / Number(this.run?.settings.rate));
    const oldest_ms = at_ms - 2 * this.scale_ms - fade_ms;
    for (let sequence = ledger.published - 1; sequence >= Math.max(0, ledger.published - KEPT); sequence -= 1) {
      const at = sequence % KEPT;
      const due_ms = ledger.due_ms[at];
      if (due_ms < oldest_ms) break;
      for (let subscriber = 0; subscriber < ledger.subscribers; subscriber += 1) {
        const got_ms = ledger.got_ms[subscriber][at];
        const came = !Number.isNaN(got_ms);
        if (came && at_ms - got_ms > fade_ms) continue;
        if (!came && calm.matches) continue;
        to.globalAlpha = came ? 1 - (at_ms - got_ms) / fade_ms : 0.55;
        const y = ((subscriber + 1) * height) / (ledger.subscribers + 1);
        const x = place(came ? got_ms - due_ms : at_ms - due_ms);
        const scale = ratio * (came ? MARK_PX : MARK_PX * 0.7);
        to.setTransform(scale, 0, 0, scale, ratio * x, ratio * y);
        to.fill(mark);
      }
    }
    to.globalAlpha = 1;
  }
}

/** @param {HTMLElement} element @param {string} text */
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The colours of the page now. */
function inks() {
  return { grid: ink("--grid"), faint: ink("--faint") };
}

/** @param {string} name */
export function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

/**
 * A canvas at the resolution of the screen, empty.
 * @param {HTMLCanvasElement} canvas
 */
export function prepared(canvas) {
  const ratio = devicePixelRatio;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const to = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  to.setTransform(ratio, 0, 0, ratio, 0, 0);
  to.clearRect(0, 0, width, height);
  return { to, width, height, ratio };
}
