// The settings of a situation. All of them stand in the fragment of the address, so that a slide can link to it.

/**
 * @typedef {object} Field
 * @property {string} label
 * @property {number | string} usual
 * @property {string} unit
 * @property {number} [least]
 * @property {number} [most]
 * @property {string[]} [choices]
 * @property {boolean} [of_lab] it changes the lab for everyone, not this page alone
 */

/** @type {Record<string, Field>} */
export const FIELDS = {
  rate: { label: "Messages a second", usual: 5, unit: "", least: 0.1, most: 50 },
  interval: { label: "Polling interval", usual: 1000, unit: "ms", least: 20, most: 10000 },
  rtt: { label: "Round-trip time", usual: 0, unit: "ms", least: 0, most: 2000, of_lab: true },
  jitter: { label: "Jitter", usual: 0, unit: "ms", least: 0, most: 1000, of_lab: true },
  payload: { label: "Payload", usual: 100, unit: "bytes", least: 39, most: 10000 },
  subscribers: { label: "Subscribers a lane", usual: 1, unit: "", least: 1, most: 30 },
  seconds: { label: "Stop after", usual: 0, unit: "s (0: never)", least: 0, most: 3600 },
  reconnect: { label: "Lost connection", usual: "robust", unit: "", choices: ["none", "naive", "robust"] },
  broker: { label: "MQTT broker", usual: "embedded", unit: "", choices: ["embedded", "mosquitto"], of_lab: true },
};
export const VIEWS = ["lanes", "streams", "pong", "class"];
const GRACE_MS = 3000;
const MOST_HTTP_SUBSCRIBERS = 6; // connections that a browser opens to one origin

/** @typedef {Record<string, number | string>} Settings with `view`, `lanes` (labels with commas, or "all") and `start` ("now": at once) */

/** @returns {Settings} */
export function usual() {
  const fields = Object.entries(FIELDS).map(([name, field]) => [name, field.usual]);
  return { ...Object.fromEntries(fields), view: "lanes", lanes: "all", start: "" };
}

/**
 * The settings in a fragment; what is not possible is left as usual, and named in `wrong`.
 * @param {string} fragment
 * @returns {{settings: Settings, wrong: string[], given: Set<string>}}
 */
export function read(fragment) {
  const settings = usual();
  const wrong = [];
  const given = new Set();
  for (const [name, text] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    const problem = name in FIELDS ? wrong_in(name, text) : name in settings || name.startsWith("pong-") ? "" : `no setting ${name}`;
    if (problem) wrong.push(problem);
    else {
      settings[name] = typeof FIELDS[name]?.usual === "number" ? Number(text) : text;
      given.add(name);
    }
  }
  return { settings, wrong, given };
}

/**
 * What is wrong with the value of a field; empty if nothing is.
 * @param {string} name
 * @param {string} text
 */
export function wrong_in(name, text) {
  const field = FIELDS[name];
  if (field.choices) return field.choices.includes(text) ? "" : `${field.label} must be one of ${field.choices.join(", ")}`;
  const value = Number(text);
  const { least = 0, most = Infinity } = field;
  if (text.trim() === "" || Number.isNaN(value) || value < least || value > most) {
    return `${field.label} must be from ${least} to ${most} ${field.unit}`.trim();
  }
  return "";
}

/**
 * The fragment of settings: only what is not as usual.
 * @param {Settings} settings
 */
export function written(settings) {
  const standard = usual();
  const other = Object.entries(settings).filter(([name, value]) => value !== standard[name]);
  const text = new URLSearchParams(other.map(([name, value]) => [name, String(value)])).toString();
  return text && `#${text.replaceAll("%2C", ",")}`;
}

/**
 * How many subscribers a lane can have: beside one event stream or waiting request each, a browser opens no more.
 * @param {string} transport
 * @param {number} wanted
 */
export function subscribers_of(transport, wanted) {
  const shares = transport === "sse" || transport === "long-polling" || transport === "polling";
  return shares ? Math.min(wanted, MOST_HTTP_SUBSCRIBERS) : wanted;
}

/**
 * How old a message is, in ms, that has not come and is lost: beside the time that anything may take, four round trips and
 * a polling interval.
 * @param {Settings} settings
 */
export function grace_ms(settings) {
  return GRACE_MS + 4 * Number(settings.rtt) + Number(settings.interval);
}
