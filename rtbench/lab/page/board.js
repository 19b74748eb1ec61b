// A board of Pong: one game over one lane. What is drawn is what the messages say; the ghost is where the ball really is.
//
// Topics, as in the course guide: pong/game/{id}/p1/paddle, pong/game/{id}/p2/paddle and pong/game/{id}/ball, at QoS 0 on the
// lane of MQTT at QoS 0. Player 1 has the ball. A message is JSON, so that mosquitto_sub shows it as it is.

import { now_ms } from "./clock.js";
import { transport } from "./lanes/index.js";
import { BALL, Game, HEIGHT, PADDLE, WIDTH, follow, within } from "./pong.js";
import { prepared } from "./view.js";

const SEND_EVERY_MS = 1000 / 30;
const STILL_EVERY_MS = 500; // a paddle that does not move is told anyway: the other side sees that somebody is there
const SILENCE_MS = 2500; // beside two intervals of polling and two round trips
const MOST_UNDER_WAY = 3; // messages of a topic; at QoS 0, missing a frame is no harm

/** @typedef {"computer" | "p1" | "p2"} Role */
/** @typedef {{x: number, y: number, score: number[], n: number, at: number}} BallMessage */

export class Board {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLElement} words where the state of the game is told
   * @param {import("./types.js").Lane} lane
   * @param {Role} role
   * @param {string} id of the game
   * @param {() => import("./settings.js").Settings} settings
   * @param {{username: string, password: string} | null} login
   * @param {(distance_px: number, age_ms: number) => void} sample takes what is seen in each frame
   */
  constructor(canvas, words, lane, role, id, settings, login, sample) {
    this.canvas = canvas;
    this.words = words;
    this.lane = lane;
    this.role = role;
    this.id = id;
    this.settings = settings;
    this.login = login;
    this.sample = sample;
    this.game = role === "p2" ? null : new Game();
    this.paddles = { p1: HEIGHT / 2, p2: HEIGHT / 2 }; // as they are drawn: the own one, and the other as it was told
    this.mine = HEIGHT / 2;
    this.computer = HEIGHT / 2;
    /** @type {BallMessage | null} */
    this.ball = null; // as it was told
    /** @type {{x: number, y: number} | null} */
    this.truth = null;
    this.heard_ms = now_ms();
    this.number = 0;
    this.was_open = false; // all connections, at some time
    this.paused = "connecting";
    /** @type {Map<string, boolean>} */
    this.is_open = new Map();
    /** @type {Record<string, import("./types.js").Publisher>} */
    this.publishers = {};
    /** @type {Record<string, number>} */
    this.under_way = {};
    /** @type {Record<string, number>} */
    this.told_ms = {};
    /** @type {Record<string, number>} */
    this.told_y = {};
    /** @type {import("./types.js").Subscription[]} */
    this.subscriptions = [];
    this.truths = new BroadcastChannel(`pong/game/${id}/${lane.label}`); // between windows of one browser, not over the lane
    this.truths.onmessage = (event) => (this.truth = event.data);
    this.closed = false;
    this.last_ms = 0;
    this.connect();
  }

  /** Which topics this player sends, and which it hears. */
  get topics() {
    const sends = { computer: ["ball", "p1/paddle", "p2/paddle"], p1: ["ball", "p1/paddle"], p2: ["p2/paddle"] }[this.role];
    const hears = { computer: ["ball", "p1/paddle", "p2/paddle"], p1: ["p2/paddle"], p2: ["ball", "p1/paddle"] }[this.role];
    return { sends, hears };
  }

  async connect() {
    const { subscribe, publisher } = await transport(this.lane.transport);
    if (this.closed) return;
    const who = `pong-${this.id}-${this.lane.label}-${this.role}-${Math.random().toString(36).slice(2, 8)}`;
    const asked = this.settings();
    const options = (/** @type {string} */ topic) => ({
      interval_ms: Number(asked.interval),
      reconnect: /** @type {const} */ ("naive"), // an old position is of no use
      login: this.login,
      name: `${who}-${topic.replace("/", "-")}`,
    });
    for (const topic of this.topics.hears) {
      this.is_open.set(topic, false);
      this.subscriptions.push(
        subscribe(this.lane, `pong/game/${this.id}/${topic}`, options(topic), {
          got: (payload) => this.got(topic, payload),
          asked: () => undefined,
          missed: () => undefined,
          state: (state) => this.is_open.set(topic, state === "open"),
        }),
      );
    }
    for (const topic of this.topics.sends) {
      this.publishers[topic] = publisher(this.lane, `pong/game/${this.id}/${topic}`, options(topic));
      this.publishers[topic].ready.catch(() => undefined);
      this.under_way[topic] = 0;
    }
  }

  /**
   * @param {string} topic
   * @param {string} payload
   */
  got(topic, payload) {
    let message;
    try {
      message = JSON.parse(payload);
    } catch {
      return; // somebody else publishes here too
    }
    this.heard_ms = now_ms();
    if (topic === "ball") {
      if (!this.ball || message.n > this.ball.n || message.n < this.ball.n - 1000) this.ball = message;
    } else if (typeof message.y === "number") this.paddles[topic === "p1/paddle" ? "p1" : "p2"] = within(message.y);
  }

  /** Moves the own paddle. @param {number} y */
  move(y) {
    this.mine = within(y);
  }

  /** One frame; called as often as the screen shows one. */
  frame() {
    const at_ms = now_ms();
    const by_s = Math.min(0.05, (at_ms - (this.last_ms || at_ms)) / 1000);
    this.last_ms = at_ms;
    this.look_for_pause(at_ms);
    if (this.game) this.play(this.game, by_s);
    const own = this.role === "p1" ? "p1/paddle" : "p2/paddle";
    this.tell_paddle(own, this.mine, at_ms);
    if (this.role === "computer") this.tell_paddle("p1/paddle", this.computer, at_ms);
    if (this.game) this.tell("ball", () => ({ ...this.rounded(), at: at_ms }), SEND_EVERY_MS, at_ms);
    this.look(at_ms);
    this.draw();
  }

  /**
   * @param {Game} game
   * @param {number} by_s
   */
  play(game, by_s) {
    if (this.paused) this.truth = null; // then nobody measures a distance
    else {
      if (this.role === "computer") this.computer = follow(this.computer, game, by_s);
      const first = this.role === "computer" ? this.computer : this.mine;
      game.step(by_s, first, this.paddles.p2);
      this.truth = { x: game.x, y: game.y };
    }
    this.truths.postMessage(this.truth);
  }

  rounded() {
    const game = /** @type {Game} */ (this.game);
    return { x: Math.round(game.x), y: Math.round(game.y), score: game.score, n: ++this.number };
  }

  /** The game pauses while a connection is lost, or nothing is heard. @param {number} at_ms */
  look_for_pause(at_ms) {
    const asked = this.settings();
    const silence_ms = SILENCE_MS + 2 * Number(asked.rtt) + (this.lane.transport === "polling" ? 2 * Number(asked.interval) : 0);
    const away = [...this.is_open.values()].some((open) => !open) || !this.is_open.size;
    if (!away) this.was_open = true;
    if (away) this.paused = this.was_open ? "connection lost: connecting again" : "connecting";
    else this.paused = at_ms - this.heard_ms > silence_ms ? "waiting for the other player" : "";
  }

  /**
   * @param {string} topic
   * @param {number} y
   * @param {number} at_ms
   */
  tell_paddle(topic, y, at_ms) {
    const every_ms = Math.round(y) === this.told_y[topic] ? STILL_EVERY_MS : SEND_EVERY_MS;
    if (this.tell(topic, () => ({ y: Math.round(y), at: at_ms }), every_ms, at_ms)) this.told_y[topic] = Math.round(y);
    if (topic === "p1/paddle" && this.role === "p1") this.paddles.p1 = y; // nobody waits for what they do themselves
    if (topic === "p2/paddle" && this.role === "p2") this.paddles.p2 = y;
  }

  /**
   * Publishes on a topic, unless it is too early, or too much is under way.
   * @param {string} topic
   * @param {() => object} content
   * @param {number} every_ms
   * @param {number} at_ms
   */
  tell(topic, content, every_ms, at_ms) {
    const publisher = this.publishers[topic];
    if (!publisher || at_ms - (this.told_ms[topic] ?? 0) < every_ms - 2) return false;
    this.told_ms[topic] = at_ms;
    if (this.under_way[topic] >= MOST_UNDER_WAY) return false;
    this.under_way[topic] += 1;
    const done = () => (this.under_way[topic] -= 1);
    publisher.publish(JSON.stringify(content())).then(done, done);
    return true;
  }

  /** Measures how far the ball that is drawn is from the real one. @param {number} at_ms */
  look(at_ms) {
    if (this.paused || !this.truth || !this.ball || this.role === "p1" || document.hidden) return;
    this.sample(Math.hypot(this.truth.x - this.ball.x, this.truth.y - this.ball.y), at_ms - this.ball.at);
  }

  draw() {
    const { to, width } = prepared(this.canvas);
    const scale = width / WIDTH;
    to.scale(scale, scale);
    to.fillStyle = "#8b93a1";
    for (let y = 0; y < HEIGHT; y += 24) to.fillRect(WIDTH / 2 - 1, y, 2, 12);
    const score = this.game?.score ?? this.ball?.score ?? [0, 0];
    to.font = "bold 40px system-ui, sans-serif";
    to.textAlign = "center";
    to.fillText(`${score[0]}   ${score[1]}`, WIDTH / 2, 48);
    to.fillStyle = "#ffffff";
    to.fillRect(PADDLE.margin, this.paddles.p1 - PADDLE.height / 2, PADDLE.width, PADDLE.height);
    const second = this.role === "computer" ? this.mine : this.paddles.p2;
    to.fillRect(WIDTH - PADDLE.margin - PADDLE.width, second - PADDLE.height / 2, PADDLE.width, PADDLE.height);
    if (this.role === "computer") { // where the other side sees it
      to.strokeStyle = "#8b93a1";
      to.strokeRect(WIDTH - PADDLE.margin - PADDLE.width, this.paddles.p2 - PADDLE.height / 2, PADDLE.width, PADDLE.height);
    }
    const seen = this.role === "p1" ? this.game : this.ball;
    if (seen) circle(to, seen, this.lane.colours.dark, true);
    if (this.truth && this.role !== "p1") circle(to, this.truth, "#ffffff", false);
    if (this.paused) {
      to.fillStyle = "rgba(0, 0, 0, 0.6)";
      to.fillRect(0, 0, WIDTH, HEIGHT);
      to.fillStyle = "#ffffff";
      to.font = "20px system-ui, sans-serif";
      to.fillText(`Paused: ${this.paused}`, WIDTH / 2, HEIGHT / 2);
    }
    const text = this.paused ? `paused: ${this.paused}` : `playing · ${score[0]} : ${score[1]}`;
    if (this.words.textContent !== text) this.words.textContent = text;
  }

  /** Ends all connections. */
  close() {
    this.closed = true;
    this.truths.close();
    for (const subscription of this.subscriptions) subscription.close();
    for (const publisher of Object.values(this.publishers)) publisher.close();
  }
}

/**
 * @param {CanvasRenderingContext2D} to
 * @param {{x: number, y: number}} at
 * @param {string} style
 * @param {boolean} filled
 */
function circle(to, at, style, filled) {
  to.beginPath();
  to.arc(at.x, at.y, BALL, 0, 2 * Math.PI);
  to.fillStyle = to.strokeStyle = style;
  to.lineWidth = 2;
  if (filled) to.fill();
  else to.stroke();
}
