// A session again as it was: the same view, fed from what was saved, at the pace at which it happened.

import { now_ms } from "./clock.js";
import { Ledger } from "./ledger.js";
import { grace_ms } from "./settings.js";

/** @typedef {import("./types.js").Lane} Lane */

export class Replay {
  /**
   * @param {Lane[]} lanes
   * @param {any} session
   */
  constructor(lanes, session) {
    this.session = session;
    this.settings = session.settings;
    this.page = 0;
    this.settled = false; // nothing more comes
    this.lanes = lanes.filter((lane) => session.lanes[lane.label]);
    this.ledgers = new Map(this.lanes.map((lane) => [lane.label, new Ledger(session.lanes[lane.label].subscribers)]));
    /** @type {[number, () => void][]} */
    this.events = [];
    this.done = () => {};
  }

  /** @param {Lane} lane */
  ledger(lane) {
    return /** @type {Ledger} */ (this.ledgers.get(lane.label));
  }

  /** What was counted as a whole. @param {Lane} lane */
  saved(lane) {
    return this.session.lanes[lane.label];
  }

  get grace_ms() {
    return grace_ms(this.settings);
  }

  /** Plays it from the beginning. @param {() => void} done is called at its end */
  start(done) {
    this.done = done;
    const begin_ms = now_ms() + 500;
    for (const lane of this.lanes) this.plan(this.session.lanes[lane.label], this.ledger(lane), begin_ms);
    this.events.sort((a, b) => a[0] - b[0]);
    this.step();
  }

  /**
   * @param {any} saved
   * @param {Ledger} ledger
   * @param {number} begin_ms
   */
  plan(saved, ledger, begin_ms) {
    const first = saved.due_ms.length ? saved.due_ms[0] : 0; // the page may not have kept the first messages
    const at = (/** @type {number} */ ms) => begin_ms + ms - first;
    saved.due_ms.forEach((/** @type {number} */ due_ms, /** @type {number} */ sequence) => {
      this.events.push([at(saved.sent_ms[sequence]), () => ledger.sent(sequence, at(due_ms), at(saved.sent_ms[sequence]))]);
      saved.got_ms.forEach((/** @type {(number | null)[]} */ got, /** @type {number} */ subscriber) => {
        const got_ms = got[sequence];
        if (got_ms === null) return;
        this.events.push([at(got_ms), () => ledger.got(subscriber, sequence, at(got_ms), !saved.was_hidden[subscriber][sequence])]);
      });
    });
    ledger.open = ledger.subscribers;
    Object.assign(ledger, { requests: saved.requests, missed: saved.missed_told, disconnections: saved.disconnections });
  }

  step() {
    while (this.events.length && this.events[0][0] <= now_ms()) /** @type {[number, () => void]} */ (this.events.shift())[1]();
    if (this.events.length) setTimeout(() => this.step(), Math.min(50, this.events[0][0] - now_ms()));
    else this.finish();
  }

  /** Shows the end at once: what was counted as a whole, of messages that were not kept too. */
  finish() {
    for (const [, play] of this.events.splice(0)) play();
    this.settled = true;
    for (const lane of this.lanes) {
      const { published, delivered, duplicated } = this.saved(lane);
      Object.assign(this.ledger(lane), { published, delivered, duplicated });
    }
    this.done();
  }
}
