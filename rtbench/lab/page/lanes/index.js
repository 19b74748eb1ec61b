// The lanes by the name of their transport; each is loaded when it is used.

/**
 * @typedef {object} Transport
 * @property {(lane: import("../types.js").Lane, topic: string, options: import("../types.js").LaneOptions,
 *   events: import("../types.js").Events) => import("../types.js").Subscription} subscribe
 * @property {(lane: import("../types.js").Lane, topic: string,
 *   options: import("../types.js").LaneOptions) => import("../types.js").Publisher} publisher
 */

/** @type {Record<string, () => Promise<Transport>>} */
const LOADERS = {
  polling: () => import("./polling.js"),
  "long-polling": () => import("./long-polling.js"),
  sse: () => import("./sse.js"),
  websocket: () => import("./websocket.js"),
  mqtt: () => import("./mqtt.js"),
};

/**
 * @param {string} name
 * @returns {Promise<Transport>}
 */
export function transport(name) {
  return LOADERS[name]();
}
