// WebSocket: one connection, both directions, a frame for each message. What happens when it is lost is up to the page.

import { now_ms } from "../clock.js";
import { delay_ms } from "./http.js";

const SUBPROTOCOL = "rtbench"; // with it, a connection can continue where the last one ended

/**
 * @param {import("../types.js").Lane} lane
 * @param {string} topic
 * @param {import("../types.js").LaneOptions} options
 * @param {import("../types.js").Events} events
 * @returns {import("../types.js").Subscription}
 */
export function subscribe(lane, topic, options, events) {
  const resumes = options.reconnect === "robust";
  const decoder = new TextDecoder();
  let epoch = "";
  let position = 0;
  let attempt = 0;
  let closed = false;
  /** @type {WebSocket} */
  let socket;
  connect();
  return {
    close() {
      closed = true;
      socket.close();
    },
  };

  function connect() {
    const after = resumes ? `?after=${epoch && `${epoch}-${position}`}` : "";
    socket = new WebSocket(`${lane.subscribe}/${topic}${after}`, resumes ? [SUBPROTOCOL] : []);
    socket.binaryType = "arraybuffer";
    events.asked(1);
    socket.onopen = () => {
      attempt = 0;
      events.state("open");
    };
    socket.onmessage = (event) => {
      const at_ms = now_ms();
      if (typeof event.data === "string" && resumes) told(JSON.parse(event.data));
      else {
        position += 1;
        events.got(typeof event.data === "string" ? event.data : decoder.decode(event.data), at_ms);
      }
    };
    socket.onclose = () => {
      if (closed) return;
      events.state("lost");
      const wait_ms = delay_ms(options.reconnect, attempt++);
      if (wait_ms !== null) setTimeout(() => closed || connect(), wait_ms);
    };
  }

  /** @param {{after?: string, missed?: number}} content */
  function told(content) {
    if (content.after !== undefined) {
      const cut = content.after.lastIndexOf("-");
      epoch = content.after.slice(0, cut);
      position = Number(content.after.slice(cut + 1));
    }
    if (content.missed) {
      position += content.missed;
      events.missed(content.missed);
    }
  }
}

/**
 * @param {import("../types.js").Lane} lane
 * @param {string} topic
 * @param {import("../types.js").LaneOptions} options
 * @returns {import("../types.js").Publisher}
 */
export function publisher(lane, topic, options) {
  const encoder = new TextEncoder();
  /** @type {string[]} */
  const waiting = []; // due while there is no connection
  let closed = false;
  let attempt = 0;
  /** @type {() => void} */
  let is_ready;
  const ready = new Promise((/** @type {(value: void) => void} */ resolve) => (is_ready = resolve));
  /** @type {WebSocket} */
  let socket;
  connect();
  return {
    ready,
    async publish(payload) {
      if (socket.readyState === WebSocket.OPEN) socket.send(encoder.encode(payload));
      else if (options.reconnect === "robust") waiting.push(payload);
      else throw new Error("there is no connection");
      return false; // WebSocket acknowledges nothing
    },
    close() {
      closed = true;
      socket.close();
    },
  };

  function connect() {
    socket = new WebSocket(`${lane.publish}/${topic}?publish`);
    socket.onopen = () => {
      attempt = 0;
      for (const payload of waiting.splice(0)) socket.send(encoder.encode(payload));
      is_ready();
    };
    socket.onclose = () => {
      const wait_ms = delay_ms(options.reconnect, attempt++);
      if (!closed && wait_ms !== null) setTimeout(() => closed || connect(), wait_ms);
    };
  }
}
