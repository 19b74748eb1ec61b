// The content of every message: the header of fixed width that all clients of rtbench write, then padding.
//
//     p00003 n000000042 d0000000012345678901 ................................................
//     |      |          |
//     |      |          due time, nanoseconds of the clock of the page
//     |      sequence number
//     publisher: the page and the lane

export const HEADER_BYTES = 39;

/**
 * @param {number} publisher
 * @param {number} sequence
 * @param {number} due_ms
 * @param {number} size_bytes at least HEADER_BYTES
 */
export function build(publisher, sequence, due_ms, size_bytes) {
  const due_us = String(Math.round(due_ms * 1000)).padStart(16, "0");
  const header = `p${pad(publisher, 5)} n${pad(sequence, 9)} d${due_us}000 `;
  return header.padEnd(size_bytes, ".");
}

/**
 * The publisher and the sequence number in a payload; null where it is none of ours.
 * @param {string} text
 */
export function parse(text) {
  const found = /^p(\d{5}) n(\d{9}) d\d{19} /.exec(text);
  return found ? { publisher: Number(found[1]), sequence: Number(found[2]) } : null;
}

const decoder = new TextDecoder();

/** @param {Uint8Array} payload */
export function text_of(payload) {
  return decoder.decode(payload.subarray(0, HEADER_BYTES));
}

/**
 * @param {number} number
 * @param {number} digits
 */
function pad(number, digits) {
  return String(number).padStart(digits, "0");
}
