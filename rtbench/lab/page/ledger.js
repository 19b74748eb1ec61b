// What became of every message of a lane: counts since Start, and the messages of the last minutes one by one.
//
// Everything is counted. Single messages are kept in a ring of KEPT, so that the memory of a page that runs for hours does
// not grow. Percentiles come from a histogram of the whole run whose classes are 0.5 % wide.

export const KEPT = 8192;
const WIDTH = Math.log(1.005);
const LEAST_MS = 0.01;
const CLASSES = Math.ceil(Math.log(1e6 / LEAST_MS) / WIDTH);

/** A histogram of times. */
export class Histogram {
  constructor() {
    this.counts = new Uint32Array(CLASSES);
    this.total = 0;
  }

  /** @param {number} ms */
  add(ms) {
    const at = Math.round(Math.log(Math.max(ms, LEAST_MS) / LEAST_MS) / WIDTH);
    this.counts[Math.min(at, CLASSES - 1)] += 1;
    this.total += 1;
  }

  /**
   * The smallest time that a share of all do not exceed; null without any.
   * @param {number} share 0 to 1
   */
  percentile(share) {
    if (!this.total) return null;
    let left = Math.max(1, Math.ceil(share * this.total));
    for (let at = 0; at < CLASSES; at += 1) {
      left -= this.counts[at];
      if (left <= 0) return LEAST_MS * Math.exp(at * WIDTH);
    }
    return null;
  }
}

/** The messages of one lane. */
export class Ledger {
  /** @param {number} subscribers */
  constructor(subscribers) {
    this.subscribers = subscribers;
    this.published = 0;
    this.acked = 0;
    this.failed = 0;
    this.delivered = 0; // the first copy, at each subscriber
    this.duplicated = 0;
    this.hidden = 0; // deliveries whose time does not count, since the page was hidden
    this.requests = 0;
    this.missed = 0; // that the server says it had to drop
    this.disconnections = 0;
    this.open = 0; // subscriptions
    this.last_ms = /** @type {number | null} */ (null);
    this.latency = new Histogram();
    this.due_ms = new Float64Array(KEPT).fill(NaN);
    this.sent_ms = new Float64Array(KEPT).fill(NaN);
    this.acked_ms = new Float64Array(KEPT).fill(NaN);
    this.early = /** @type {[number, number, number, boolean][]} */ ([]); // arrivals reported before their message was
    this.got_ms = Array.from({ length: subscribers }, () => new Float64Array(KEPT).fill(NaN));
  }

  /**
   * @param {number} sequence
   * @param {number} due_ms
   * @param {number} sent_ms
   */
  sent(sequence, due_ms, sent_ms) {
    const at = sequence % KEPT;
    this.published += 1;
    this.due_ms[at] = due_ms;
    this.sent_ms[at] = sent_ms;
    this.acked_ms[at] = NaN;
    for (const got of this.got_ms) got[at] = NaN;
  }

  /** Takes in the arrivals that were reported before their message: the two come from different Workers. */
  take_early() {
    for (const row of this.early.splice(0)) this.got(...row);
  }

  /**
   * @param {number} sequence
   * @param {number} at_ms
   */
  was_acked(sequence, at_ms) {
    this.acked += 1;
    if (this.is_kept(sequence)) this.acked_ms[sequence % KEPT] = at_ms;
  }

  /**
   * Notes an arrival.
   * @param {number} subscriber
   * @param {number} sequence
   * @param {number} at_ms
   * @param {boolean} counts false where the page was hidden meanwhile
   */
  got(subscriber, sequence, at_ms, counts = true) {
    const at = sequence % KEPT;
    if (sequence >= this.published) {
      this.early.push([subscriber, sequence, at_ms, counts]);
      return;
    }
    if (!this.is_kept(sequence) || !Number.isNaN(this.got_ms[subscriber][at])) {
      this.duplicated += 1;
      return;
    }
    this.got_ms[subscriber][at] = at_ms;
    this.delivered += 1;
    const latency_ms = at_ms - this.due_ms[at];
    if (counts) {
      this.last_ms = latency_ms;
      this.latency.add(latency_ms);
    } else this.hidden += 1;
  }

  /** @param {number} sequence */
  is_kept(sequence) {
    return sequence < this.published && sequence >= this.published - KEPT;
  }

  /** How many deliveries there should be of what was published. */
  get expected() {
    return this.published * this.subscribers;
  }

  /**
   * How many deliveries have not come of messages that were due before a time.
   * @param {number} before_ms
   */
  lost(before_ms) {
    let young = 0; // deliveries that are missing but may still come
    for (let sequence = this.published - 1; sequence >= Math.max(0, this.published - KEPT); sequence -= 1) {
      const at = sequence % KEPT;
      if (this.due_ms[at] < before_ms) break;
      for (const got of this.got_ms) young += Number.isNaN(got[at]) ? 1 : 0;
    }
    return this.expected - this.delivered - young;
  }

  /** The percentile of the latency, in ms. @param {number} share */
  percentile(share) {
    return this.latency.percentile(share);
  }
}
