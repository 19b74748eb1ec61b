// The charts of the page, by uPlot, in the colours and with the markers of the lanes.

import uPlot from "./vendor/uPlot.esm.js";
import { add_marker, colour, ink } from "./view.js";

const LEAST_PX = 280;

/** @typedef {import("./types.js").Lane} Lane */
/** @typedef {{lane: Lane, x: number[], y: (number | null)[]}} Series */

/**
 * Draws series over a common axis; returns the chart.
 * @param {HTMLElement} into
 * @param {Series[]} series
 * @param {{x: string, y: string, log?: boolean, points?: boolean, height?: number}} how
 */
export function draw_chart(into, series, how) {
  into.replaceChildren();
  const tables = series.map((one) => /** @type {uPlot.AlignedData} */ ([one.x, one.y]));
  const data = tables.length ? uPlot.join(tables) : /** @type {uPlot.AlignedData} */ ([[], []]);
  const axis = { stroke: () => ink("--ink"), grid: { stroke: () => ink("--grid") }, ticks: { stroke: () => ink("--grid") } };
  const options = {
    width: Math.max(LEAST_PX, into.clientWidth),
    height: how.height ?? 320,
    scales: { x: { time: false, ...(how.log ? { distr: /** @type {3} */ (3) } : {}) } },
    axes: [{ ...axis, label: how.x }, { ...axis, label: how.y, size: 60 }],
    legend: { live: false },
    cursor: { show: false },
    series: [
      {},
      ...series.map(({ lane }) => ({
        label: lane.label,
        stroke: () => colour(lane),
        width: how.points ? 0 : 2,
        paths: how.points ? () => null : undefined,
        dash: [[], [8, 4], [2, 3]][lane.qos ?? 0],
        spanGaps: true,
        points: { show: Boolean(how.points), size: 9, fill: () => colour(lane), paths: /** @type {any} */ (marks(lane)) },
      })),
    ],
  };
  const chart = new uPlot(/** @type {any} */ (options), data, into);
  drawn.set(into, chart);
  watcher.observe(into);
  return chart;
}

/** @type {Map<Element, uPlot>} */
const drawn = new Map(); // the chart in each element
const watcher = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const chart = drawn.get(target);
    const width = Math.max(LEAST_PX, target.clientWidth);
    if (chart && width !== chart.width) chart.setSize({ width, height: chart.height });
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of drawn.values()) chart.redraw();
});

/** The marks of a lane, for uPlot: it asks for a path. @param {Lane} lane */
function marks(lane) {
  return (/** @type {uPlot} */ chart, /** @type {number} */ at, /** @type {number} */ from, /** @type {number} */ to) => {
    const path = new Path2D();
    const size = 4.5 * devicePixelRatio;
    for (let i = from; i <= to; i += 1) {
      const value = chart.data[at][i];
      if (value === null || value === undefined) continue;
      const x = chart.valToPos(chart.data[0][i], "x", true);
      const y = chart.valToPos(value, "y", true);
      add_marker(path, lane.marker, x, y, size);
    }
    return { stroke: path, fill: path, flags: 0 };
  };
}

/**
 * The share of deliveries that had come after each time, of what a histogram holds.
 * @param {import("./ledger.js").Histogram} histogram
 */
export function shares(histogram) {
  const x = [];
  const y = [];
  for (let percent = 0; percent <= 100; percent += 1) {
    const ms = histogram.percentile(percent / 100);
    if (ms === null) break;
    if (x.length && ms <= x[x.length - 1]) y[y.length - 1] = percent;
    else {
      x.push(ms);
      y.push(percent);
    }
  }
  return { x, y };
}
