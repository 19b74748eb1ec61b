// Making elements, and numbers as text.

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties] of the element; those with a dash or `role` are attributes
 * @param {...(Node | string | null)} children
 * @returns {any}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || ["role", "for", "scope", "list"].includes(name)) element.setAttribute(name, String(value));
    else /** @type {any} */ (element)[name] = value;
  }
  element.append(...children.filter((child) => child !== null).map((child) => child ?? ""));
  return element;
}

/**
 * An element of the page by its id.
 * @param {string} id
 * @returns {any}
 */
export function by_id(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element ${id}`);
  return element;
}

/**
 * Milliseconds with three significant digits.
 * @param {number | null | undefined} ms
 */
export function ms_text(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms >= 100) return ms.toFixed(0);
  return ms >= 10 ? ms.toFixed(1) : ms.toFixed(2);
}

/** @param {number | null | undefined} count */
export function count_text(count) {
  return count === null || count === undefined ? "–" : count.toLocaleString("en");
}

/** @param {number | null | undefined} bytes */
export function bytes_text(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  if (bytes < 10_000) return `${bytes} B`;
  return bytes < 10_000_000 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** @param {string} text */
export function announce(text) {
  by_id("announcement").textContent = text;
}

/** @param {string} text @param {boolean} [is_error] */
export function notice(text, is_error = false) {
  const element = by_id("notice");
  element.textContent = text;
  element.className = is_error ? "error" : "";
  element.hidden = !text;
}
