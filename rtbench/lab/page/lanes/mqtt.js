// MQTT over WebSocket, with MQTT.js: it connects again by itself, and with a lasting session the broker keeps what
// comes meanwhile, at QoS 1 and 2.

import { now_ms } from "../clock.js";
import mqtt from "../vendor/mqtt.esm.js";

/** A WebSocket that drops what MQTT.js sends while it closes. The browser drops it too, but reports an error. */
class QuietWebSocket extends WebSocket {
  /** @param {Parameters<WebSocket["send"]>[0]} data */
  send(data) {
    if (this.readyState === WebSocket.OPEN) super.send(data);
  }
}

/**
 * @param {string} url
 * @param {string} name
 * @param {import("../types.js").LaneOptions} options
 */
function client_of(url, name, options) {
  return mqtt.connect(url, {
    protocolVersion: 4,
    clientId: name,
    clean: options.reconnect !== "robust",
    reconnectPeriod: options.reconnect === "none" ? 0 : 1000,
    queueQoSZero: options.reconnect === "robust",
    keepalive: 30,
    createWebsocket: (address, protocols) => new QuietWebSocket(address, protocols),
    timerVariant: "native", // not a Worker made of text, which the policy of the page forbids
    log: () => undefined, // by default it prepares a line for each step, which nobody reads
    username: options.login?.username,
    password: options.login?.password,
  });
}

/**
 * Ends a client, and the session that the broker would keep for it: a clean connection ends it (3.1.1, section 3.1.2.4).
 * @param {mqtt.MqttClient} client
 */
function end(client) {
  client.removeAllListeners("connect");
  client.end(true, {}, () => {
    if (client.options.clean) return;
    client.options.clean = true;
    client.once("connect", () => client.end());
    client.reconnect();
  });
}

/**
 * @param {import("../types.js").Lane} lane
 * @param {string} topic
 * @param {import("../types.js").LaneOptions} options
 * @param {import("../types.js").Events} events
 * @returns {import("../types.js").Subscription}
 */
export function subscribe(lane, topic, options, events) {
  const decoder = new TextDecoder();
  const client = client_of(lane.subscribe, `${options.name}-sub`, options);
  const qos = /** @type {0 | 1 | 2} */ (lane.qos ?? 0);
  client.subscribe(topic, { qos }); // and again by itself, where a new connection finds no session
  client.on("packetsend", (packet) => {
    if (packet.cmd === "subscribe") events.asked(1);
  });
  client.on("packetreceive", (packet) => {
    if (packet.cmd === "connack") events.asked(1);
    if (packet.cmd === "suback" || (packet.cmd === "connack" && packet.sessionPresent)) events.state("open");
  });
  client.on("message", (_, payload) => {
    const at_ms = now_ms();
    events.got(decoder.decode(payload), at_ms);
  });
  client.on("close", () => events.state("lost"));
  client.on("error", () => undefined); // it tries again
  return { close: () => end(client) };
}

/**
 * @param {import("../types.js").Lane} lane
 * @param {string} topic
 * @param {import("../types.js").LaneOptions} options
 * @returns {import("../types.js").Publisher}
 */
export function publisher(lane, topic, options) {
  const encoder = new TextEncoder();
  const client = client_of(lane.publish, `${options.name}-pub`, options);
  const qos = /** @type {0 | 1 | 2} */ (lane.qos ?? 0);
  client.on("error", () => undefined);
  return {
    ready: new Promise((resolve) => client.once("connect", () => resolve())),
    async publish(payload) {
      if (!client.connected && options.reconnect !== "robust") throw new Error("there is no connection");
      const content = /** @type {any} */ (encoder.encode(payload)); // of text it makes a list of numbers, byte by byte, twice
      await client.publishAsync(topic, content, { qos });
      return qos > 0;
    },
    close: () => end(client),
  };
}
