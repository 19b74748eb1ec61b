// What polling, long-polling and SSE share: publishing is POST, and an answer may bring several messages.

import { now_ms } from "../clock.js";

/**
 * Publishes with a request for each message.
 * @param {import("../types.js").Lane} lane
 * @param {string} topic
 * @returns {import("../types.js").Publisher}
 */
export function publisher(lane, topic) {
  const url = `${lane.publish}/${topic}`;
  return {
    ready: fetch(url, { method: "HEAD" }).then(() => undefined),
    async publish(payload) {
      const answer = await fetch(url, { method: "POST", body: payload }); // text/plain: a browser asks no leave for it
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      return true;
    },
    close() {},
  };
}

/**
 * Asks for where the topic ends now: a subscriber starts there.
 * @param {string} url
 * @param {AbortSignal} signal
 */
export async function end_of(url, signal) {
  const answer = await fetch(url, { method: "HEAD", signal });
  return answer.headers.get("ETag") ?? "";
}

/**
 * Asks for the messages after a cursor.
 * @param {string} url
 * @param {string} cursor
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 */
export async function ask(url, cursor, headers, signal) {
  const answer = await fetch(url, { headers: { "If-None-Match": cursor, ...headers }, signal });
  if (answer.status !== 200 && answer.status !== 304) throw new Error(`the server answered ${answer.status}`);
  const { body, at_ms } = answer.status === 200 ? await read(answer) : { body: "", at_ms: now_ms() };
  const messages = answer.status === 200 ? split(answer.headers.get("Content-Type") ?? "", body) : [];
  const missed = Number(answer.headers.get("RTBench-Missed") ?? 0);
  return { messages, at_ms, missed, cursor: answer.headers.get("ETag") ?? cursor };
}

/**
 * The body of an answer, and when the last of it came: the end of the stream is told a moment later.
 * @param {Response} answer
 */
async function read(answer) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  const decoder = new TextDecoder();
  let body = "";
  let at_ms = now_ms();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { body: body + decoder.decode(), at_ms };
    at_ms = now_ms();
    body += decoder.decode(value, { stream: true });
  }
}

/**
 * The messages in a body: several are multipart/mixed (RFC 2046, section 5.1.3), whose parts have no header.
 * @param {string} content_type
 * @param {string} body
 */
export function split(content_type, body) {
  const boundary = /^multipart\/mixed\s*;.*boundary="?([^";]+)"?/i.exec(content_type);
  if (!boundary) return [body];
  const parts = `\r\n${body}`.split(`\r\n--${boundary[1]}`).slice(1, -1);
  return parts.map((part) => part.slice(part.indexOf("\r\n\r\n") + 4));
}

/** @param {number} ms */
export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}

/**
 * How long to wait before an attempt to connect again, in ms; null: make none. As the policies of `--reconnect`.
 * @param {"none" | "naive" | "robust"} policy
 * @param {number} attempt from 0
 */
export function delay_ms(policy, attempt) {
  if (policy === "none") return null;
  return policy === "naive" ? 1000 : Math.random() * Math.min(5000, 100 * 2 ** attempt);
}
