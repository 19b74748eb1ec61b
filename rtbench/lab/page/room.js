// The class: how to come in, and the figures of everyone, for the lecturer.

import { draw_chart } from "./charts.js";
import { by_id, count_text, h, ms_text } from "./dom.js";
import { coloured } from "./view.js";

/** @typedef {import("./types.js").Lane} Lane */
/** @typedef {{p50_ms: number, p99_ms: number, delivered: number, lost: number}} Figures */

/**
 * Shows the address of the class and its QR code.
 * @param {{class: string, qr: string}} address
 */
export function show_address(address) {
  if (!address.class) return;
  const cut = address.qr.indexOf(" ");
  const size = Number(address.qr.slice(0, cut));
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("viewBox", `-4 -4 ${size + 8} ${size + 8}`);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", "QR code of the address");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", address.qr.slice(cut + 1));
  path.setAttribute("fill", "#000000");
  picture.append(path);
  by_id("class-address").replaceChildren(picture, h("div", {}, h("p", {}, "Open "), h("p", {}, h("strong", {}, address.class)),
    h("p", { id: "class-pages", className: "faint" })));
}

/**
 * Shows the figures of everyone.
 * @param {Lane[]} lanes
 * @param {{pages: number, most_clients: number, figures: Record<string, {name: string, lanes: Record<string, Figures>}>}} told
 */
export function show_class(lanes, told) {
  by_id("class-pages").textContent = `${told.pages} of at most ${told.most_clients} pages are open`;
  const all = Object.values(told.figures);
  const series = [];
  const rows = [];
  for (const lane of lanes) {
    const mine = all.map((each) => each.lanes[lane.label]).filter(Boolean);
    const p50 = mine.map((each) => each.p50_ms).sort((a, b) => a - b);
    if (!p50.length) continue;
    const numbered = all.map((each, at) => /** @type {[number, number | undefined]} */ ([at + 1, each.lanes[lane.label]?.p50_ms]))
      .filter(([, y]) => y !== undefined);
    series.push({ lane, x: numbered.map(([x]) => x), y: numbered.map(([, y]) => y ?? null) });
    const name = h("th", { scope: "row" }, lane.label);
    coloured(name, lane);
    const sum = (/** @type {"delivered" | "lost"} */ what) => mine.reduce((total, each) => total + each[what], 0);
    rows.push(h("tr", {}, name, ...[count_text(p50.length), ms_text(p50[0]), ms_text(p50[Math.floor(p50.length / 2)]),
      ms_text(p50[p50.length - 1]), count_text(sum("delivered")), count_text(sum("lost"))].map((text) => h("td", {}, text))));
  }
  by_id("class-table").querySelector("tbody").replaceChildren(...rows);
  draw_chart(by_id("class-chart"), series, { x: "page", y: "p50, ms", points: true });
}
