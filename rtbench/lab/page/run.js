// A run: the Workers of the lanes and of the source, and the ledger of each lane.

import { now_ms } from "./clock.js";
import { Ledger } from "./ledger.js";
import { grace_ms, subscribers_of } from "./settings.js";

/** @typedef {import("./types.js").Lane} Lane */

/**
 * Returns a Worker of the page.
 * @param {string} name
 */
function worker(name) {
  return new Worker(new URL(name, import.meta.url), { type: "module" });
}

export class Run {
  /**
   * @param {Lane[]} lanes
   * @param {import("./settings.js").Settings} settings
   * @param {{page: number, publishers: Record<string, number>, lanes: any}} begun what the lab answered: the number of this
   *   run, the publisher that each lane names in its payloads, and what had passed the links until then
   * @param {{username: string, password: string} | null} login
   */
  constructor(lanes, settings, begun, login) {
    this.lanes = lanes;
    this.settings = { ...settings };
    this.page = begun.page;
    this.publishers = begun.publishers;
    this.passed_before = begun.lanes;
    this.login = login;
    /** @type {Map<string, Ledger>} */
    this.ledgers = new Map();
    /** @type {Map<number, Ledger>} */
    this.by_number = new Map();
    /** @type {Worker[]} */
    this.workers = [];
    this.source = worker("source-worker.js");
    this.started_ms = 0; // by the calendar
    this.origin_ms = 0; // by the clock
    this.stopped_ms = 0;
    this.settled = false; // nothing more is counted
    /** @type {[number, number][]} */
    this.hidden = document.hidden ? [[now_ms(), Infinity]] : []; // when the page was hidden
    for (const lane of lanes) {
      const ledger = new Ledger(subscribers_of(lane.transport, Number(settings.subscribers)));
      this.ledgers.set(lane.label, ledger);
      this.by_number.set(lane.number, ledger);
    }
  }

  /** @param {Lane} lane @returns {import("./types.js").LaneOptions} */
  options(lane) {
    return {
      interval_ms: Number(this.settings.interval),
      reconnect: /** @type {any} */ (this.settings.reconnect),
      login: this.login,
      name: `lab-${this.page}-${lane.label}`,
    };
  }

  /** @param {Lane} lane */
  topic(lane) {
    return `lab/${this.page}/${lane.label}`;
  }

  /** Opens all connections; resolves when every subscription is there, or after a while. */
  async open() {
    for (const lane of this.lanes) {
      const of_lane = worker("lane-worker.js");
      const ledger = this.ledger(lane);
      of_lane.onmessage = (event) => this.heard(ledger, event.data);
      of_lane.postMessage({
        do: "open",
        lane,
        topic: this.topic(lane),
        publisher: this.publishers[lane.label],
        subscribers: ledger.subscribers,
        options: this.options(lane),
      });
      this.workers.push(of_lane);
    }
    const ready = this.told_by_source("ready");
    this.source.addEventListener("message", (event) => event.data.sent && this.published(event.data));
    const topics = Object.fromEntries(this.lanes.map((lane) => [lane.label, this.topic(lane)]));
    const options = Object.fromEntries(this.lanes.map((lane) => [lane.label, this.options(lane)]));
    this.source.postMessage({ do: "open", lanes: this.lanes, topics, options });
    await ready;
    for (let waited_ms = 0; waited_ms < 10_000 && !this.is_open; waited_ms += 20) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Whether every subscription is there. */
  get is_open() {
    return [...this.ledgers.values()].every((ledger) => ledger.open === ledger.subscribers);
  }

  start() {
    const { rate, payload } = this.settings;
    this.started_ms = Date.now();
    this.origin_ms = now_ms();
    this.source.postMessage({ do: "start", publishers: this.publishers, rate_hz: Number(rate), payload_bytes: Number(payload) });
  }

  /** Publishes nothing more; resolves when all that was published is known. What is under way may still come. */
  async stop() {
    this.stopped_ms = Date.now();
    const stopped = this.told_by_source("stopped");
    this.source.postMessage({ do: "stop" });
    await stopped;
  }

  /** Resolves when the source answers with this word. @param {"ready" | "stopped"} word @returns {Promise<void>} */
  told_by_source(word) {
    return new Promise((resolve) => this.source.addEventListener("message", (event) => event.data[word] && resolve()));
  }

  /** Publishes one message more, on one lane. @param {string} label */
  one(label) {
    this.source.postMessage({ do: "one", label });
  }

  /** Ends all connections and Workers. */
  close() {
    for (const each of [...this.workers, this.source]) each.postMessage({ do: "close" });
    setTimeout(() => {
      for (const each of [...this.workers, this.source]) each.terminate();
    }, 1000 + 8 * Number(this.settings.rtt)); // MQTT ends its sessions meanwhile
  }

  /** @param {Lane} lane */
  ledger(lane) {
    return /** @type {Ledger} */ (this.ledgers.get(lane.label));
  }

  /** How old a message is, in ms, that must have come. */
  get grace_ms() {
    return grace_ms(this.settings);
  }

  /** @param {{sent: number[], acked: number[], failed: number[]}} rows */
  published({ sent, acked, failed }) {
    if (this.settled) return; // what the ladder sends later is not of the run
    for (let i = 0; i < sent.length; i += 4) this.by_number.get(sent[i])?.sent(sent[i + 1], sent[i + 2], sent[i + 3]);
    for (let i = 0; i < acked.length; i += 3) this.by_number.get(acked[i])?.was_acked(acked[i + 1], acked[i + 2]);
    for (let i = 0; i < failed.length; i += 2) {
      const ledger = this.by_number.get(failed[i]);
      if (ledger) ledger.failed += 1;
    }
    for (const ledger of this.ledgers.values()) ledger.take_early();
  }

  /**
   * @param {Ledger} ledger
   * @param {{rows: number[], requests: number, missed: number, lost: number, open: number}} told
   */
  heard(ledger, told) {
    if (this.settled) return;
    Object.assign(ledger, { requests: told.requests, missed: told.missed, disconnections: told.lost, open: told.open });
    for (let i = 0; i < told.rows.length; i += 3) {
      const at_ms = told.rows[i + 2];
      ledger.got(told.rows[i], told.rows[i + 1], at_ms, !this.was_hidden(at_ms));
    }
  }

  /** Whether the page was hidden at a time, or shortly before. @param {number} at_ms */
  was_hidden(at_ms) {
    return this.hidden.some(([from_ms, to_ms]) => at_ms >= from_ms && at_ms <= to_ms + 1000);
  }
}
