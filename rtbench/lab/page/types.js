// The types of the page, for tsc and for whoever reads it; nothing runs here.

/**
 * @typedef {object} Lane what the lab tells of a lane
 * @property {string} label
 * @property {string} transport
 * @property {number | null} qos
 * @property {number} number its place in the order, from 0
 * @property {string} marker
 * @property {{light: string, dark: string}} colours
 * @property {{light: string, dark: string}} text_colours
 * @property {string} subscribe the origin at which the page subscribes
 * @property {string} publish the origin at which it publishes
 * @property {number | null} plain_port where a client of MQTT without WebSocket comes
 */

/**
 * @typedef {object} LaneOptions what the page asks of the client of a lane
 * @property {number} interval_ms of polling
 * @property {"none" | "naive" | "robust"} reconnect what it does when its connection is lost
 * @property {{username: string, password: string} | null} login of the broker
 * @property {string} name of the client, for a broker
 */

/**
 * @typedef {object} Events what a subscription tells
 * @property {(payload: string, at_ms: number) => void} got a message
 * @property {(requests: number) => void} asked it sent so many requests
 * @property {(state: "open" | "lost") => void} state its connection is there, or is gone
 * @property {(missed: number) => void} missed the server says that it had to drop so many messages
 */

/**
 * @typedef {object} Publisher
 * @property {Promise<void>} ready
 * @property {(payload: string) => Promise<boolean>} publish resolves when it was acknowledged (true) or sent (false)
 * @property {() => void} close
 */

/** @typedef {{close: () => void}} Subscription */

export {};
