// The page: brings the parts together.

import { draw_chart, shares } from "./charts.js";
import { now_ms, step_ms } from "./clock.js";
import { announce, by_id, h, notice } from "./dom.js";
import { show_ladder } from "./ladder.js";
import { Live } from "./live.js";
import { PongView } from "./pong-view.js";
import { Predict, reveal } from "./predict.js";
import { Replay } from "./replay.js";
import { show_address, show_class } from "./room.js";
import { Run } from "./run.js";
import { recorded } from "./session.js";
import { FIELDS, VIEWS, read, written, wrong_in } from "./settings.js";
import { Streams } from "./streams.js";
import { LanesView } from "./view.js";

/** @typedef {import("./types.js").Lane} Lane */

const FIGURES_EVERY_MS = 2000;
let { settings, wrong, given } = read(location.hash);
const predict = new Predict();
/** @type {any} */
let hello = null;
/** @type {LanesView} */
let view;
/** @type {Run | null} */
let run = null;
/** @type {import("./predict.js").Prediction | null} */
let prediction = null;
/** @type {Streams | null} */
let streams = null;
/** @type {PongView | null} */
let pong = null;
/** @type {{fault: string, lanes: string[], from_ms: number, to_ms: number}[]} */
let faults = [];
let opening = false;
let stop_timer = /** @type {ReturnType<typeof setTimeout> | 0} */ (0);
const live = new Live(told);

/** What the lab says by itself. @param {any} message */
function told(message) {
  if (message.type === "hello") greet(message);
  else if (message.type === "counts") {
    if (view && !run?.settled) view.counts = message;
    show_servers(message.servers);
  } else if (message.type === "network") take_network(message);
  else if (message.type === "server") show_servers(message.servers);
  else if (message.type === "fault") show_fault(message);
  else if (message.type === "class" && !by_id("view-class").hidden) show_class(hello.lanes, message);
  else if (message.type === "full") notice(`The class is full: ${message.most_clients} pages are open.`, true);
  else if (message.type === "closed" && hello) notice("The lab has ended. Start it again, and load this page anew.", true);
}

/** @param {any} message */
function greet(message) {
  hello = message;
  view = new LanesView(hello.lanes);
  if (wrong.length) notice(`The address has settings that are not possible: ${wrong.join("; ")}.`, true);
  by_id("class-link").hidden = !(hello.class && hello.lecturer);
  if (hello.class && hello.lecturer) show_address(hello.address);
  const isolation = crossOriginIsolated ? "" : " (the page is not isolated: no https and not this machine)";
  by_id("clock").textContent = `rtbench ${hello.version} · clock step ${(1000 * step_ms()).toFixed(0)} µs${isolation}`;
  make_fields();
  make_breaks();
  predict.show(chosen());
  if (hello.replay) start_replay();
  else apply_to_lab();
  show_view();
  document.documentElement.dataset.ready = "yes";
  if (settings.start === "now" && !hello.replay) begin();
}

async function start_replay() {
  const session = await (await fetch("session.json")).json();
  by_id("settings").hidden = by_id("predict").hidden = by_id("break").hidden = true;
  for (const name of ["start", "skip"]) by_id(name).hidden = true;
  const replay = new Replay(hello.lanes, session);
  view.show(replay);
  by_id("state").textContent = `A session of ${session.created}, again as it was: no server runs.`;
  replay.start(() => {
    view.write();
    reveal_all(replay, session.prediction, null);
  });
}

// settings

function chosen() {
  const labels = String(settings.lanes).split(",");
  const found = hello.lanes.filter((/** @type {Lane} */ lane) => settings.lanes === "all" || labels.includes(lane.label));
  return found.length ? found : hello.lanes;
}

function make_fields() {
  const fields = Object.entries(FIELDS).map(([name, field]) => {
    const input = field.choices
      ? h("select", { id: `set-${name}` }, ...field.choices.map((choice) => h("option", { value: choice }, choice)))
      : h("input", { type: "number", id: `set-${name}`, min: field.least, max: field.most, step: "any" });
    input.value = settings[name];
    input.disabled = Boolean(field.of_lab) && !hello.lecturer;
    input.onchange = () => changed(name, input.value);
    return h("label", {}, field.label, h("span", {}, input, field.unit));
  });
  by_id("fields").replaceChildren(...fields);
  by_id("settings").onsubmit = (/** @type {Event} */ event) => event.preventDefault();
  const boxes = hello.lanes.map((/** @type {Lane} */ lane) => {
    const box = h("input", { type: "checkbox", id: `show-${lane.label}`, checked: chosen().includes(lane) });
    box.onchange = () => {
      const on = hello.lanes.filter((/** @type {Lane} */ each) => by_id(`show-${each.label}`).checked);
      if (!on.length) box.checked = true;
      settings.lanes = on.length === hello.lanes.length ? "all" : (on.length ? on : [lane]).map((/** @type {Lane} */ each) => each.label).join(",");
      keep_address();
      predict.show(chosen());
    };
    return h("label", {}, box, ` ${lane.label}`);
  });
  by_id("chosen-lanes").replaceChildren(h("legend", {}, "Lanes"), ...boxes);
}

/**
 * @param {string} name
 * @param {string} value
 */
async function changed(name, value) {
  const problem = wrong_in(name, value);
  notice(problem, true);
  if (problem) return;
  settings[name] = typeof FIELDS[name].usual === "number" ? Number(value) : value;
  keep_address();
  if (FIELDS[name].of_lab) await apply_to_lab(name);
  else if (run && !run.stopped_ms && name !== "seconds") await begin(); // with the new settings from here on
}

function keep_address() {
  history.replaceState(null, "", `${location.pathname}${written(settings)}` || location.pathname);
}

/** Lets the lab have the settings that the address, or a field, asks for. @param {string} [only] */
async function apply_to_lab(only) {
  if (!hello.lecturer) return;
  const { broker } = settings; // as it is wanted: what the lab says meanwhile is how it is
  try {
    const asks_network = only ? ["rtt", "jitter"].includes(only) : given.has("rtt") || given.has("jitter");
    if (asks_network) {
      const jitter_ms = Math.min(Number(settings.jitter), Number(settings.rtt));
      await live.ask("network", { rtt_ms: Number(settings.rtt), jitter_ms });
    } else if (!only) take_network(hello.network);
    if (only === "broker" || (!only && given.has("broker"))) {
      by_id("state").textContent = "starting the other broker ...";
      await live.ask("broker", { server: broker });
      by_id("state").textContent = "";
    }
  } catch (error) {
    by_id("state").textContent = "";
    notice(/** @type {Error} */ (error).message, true);
  }
}

/** @param {{rtt_ms: number, jitter_ms: number}} network */
function take_network(network) {
  settings.rtt = Math.round(network.rtt_ms * 1000) / 1000;
  settings.jitter = Math.round(network.jitter_ms * 1000) / 1000;
  if (run) Object.assign(run.settings, { rtt: settings.rtt, jitter: settings.jitter });
  by_id("set-rtt").value = settings.rtt;
  by_id("set-jitter").value = settings.jitter;
  keep_address();
}

/** @param {Record<string, string>} servers by transport */
function show_servers(servers) {
  if (settings.broker === servers.mqtt) return;
  settings.broker = servers.mqtt;
  by_id("set-broker").value = settings.broker;
  keep_address();
}

// start, stop, reveal

async function begin() {
  if (opening) return;
  opening = true;
  clearTimeout(stop_timer);
  run?.close();
  for (const name of ["reveal", "ladder"]) by_id(name).hidden = true;
  by_id("state").textContent = "connecting ...";
  try {
    run = new Run(chosen(), settings, /** @type {any} */ (await live.ask("begin")), hello.login);
    view.show(run);
    await run.open();
    const missing = run.lanes.filter((lane) => run && run.ledger(lane).open < run.ledger(lane).subscribers);
    notice(missing.length ? `not connected so far: ${missing.map((lane) => lane.label).join(", ")}` : "", true);
    const fewer = run.lanes.filter((lane) => run && run.ledger(lane).subscribers < Number(settings.subscribers));
    run.start();
    announce("started");
    by_id("state").textContent = fewer.length ? `${fewer.map((lane) => lane.label).join(", ")}: a browser opens six connections to an origin, so there are six subscribers` : "";
    for (const name of ["start", "skip", "save", "again", "predict"]) by_id(name).hidden = true;
    by_id("stop").hidden = false;
    by_id("stop").focus();
    if (Number(settings.seconds)) stop_timer = setTimeout(end, 1000 * Number(settings.seconds));
  } catch (error) {
    notice(/** @type {Error} */ (error).message, true);
    by_id("state").textContent = "";
  }
  opening = false;
}

async function end() {
  if (!run || run.stopped_ms) return;
  clearTimeout(stop_timer);
  const ended = run;
  by_id("stop").hidden = true;
  by_id("state").textContent = "waiting for what is under way ...";
  await ended.stop();
  for (let waited_ms = 0; waited_ms < ended.grace_ms && !all_came(ended); waited_ms += 100) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  view.counts = await live.ask("counts").catch(() => view.counts);
  ended.settled = true;
  view.write();
  by_id("state").textContent = "";
  for (const name of ["start", "skip", "again"]) by_id(name).hidden = false;
  by_id("save").hidden = !hello.lecturer;
  reveal_all(ended, prediction, (lane) => explain(lane));
  announce("stopped; what was measured is below");
}

/** @param {Run} of */
function all_came(of) {
  return of.lanes.every((lane) => {
    const { delivered, expected, acked, failed, published } = of.ledger(lane);
    const acknowledges = lane.transport !== "websocket" && lane.qos !== 0;
    return delivered === expected && (!acknowledges || acked + failed >= published);
  });
}

/**
 * @param {Run | Replay} of
 * @param {import("./predict.js").Prediction | null} said
 * @param {((lane: Lane) => void) | null} why
 */
function reveal_all(of, said, why) {
  reveal(of.lanes, said, (lane) => of.ledger(lane).percentile(0.5), why);
  const series = of.lanes.map((lane) => ({ lane, ...shares(of.ledger(lane).latency) })).filter((each) => each.x.length);
  draw_chart(by_id("latency-chart"), series, { x: "ms after it was due", y: "% of the deliveries", log: true });
}

/** @param {Lane} lane */
async function explain(lane) {
  if (!run) return;
  if (!hello.lecturer) {
    notice("In a class, the packets are shown on the lecturer's page.", true);
    return;
  }
  await show_ladder(live, run, lane).catch((error) => notice(error.message, true));
}

by_id("start").onclick = () => {
  prediction = predict.prediction;
  begin();
};
by_id("skip").onclick = () => {
  prediction = null;
  begin();
};
by_id("stop").onclick = end;
by_id("again").onclick = () => {
  for (const name of ["reveal", "ladder", "again", "save"]) by_id(name).hidden = true;
  by_id("predict").hidden = false;
  by_id("prediction").querySelector("button:enabled").focus();
};
by_id("save").onclick = async () => {
  if (!run) return;
  const body = JSON.stringify(recorded(run, prediction, view, faults, pong?.saved ?? []));
  const answer = await fetch("sessions", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  const content = await answer.json().catch(() => ({ error: `the lab answered ${answer.status}` }));
  if (content.error) notice(content.error, true);
  else {
    notice(`Saved: ${content.saved}. Draw it: rtbench chart ${content.saved} · show it again: rtbench lab ${content.saved}`);
    announce("saved");
  }
};

// break

function make_breaks() {
  const where = by_id("break-where");
  where.replaceChildren(h("option", { value: "all" }, "all lanes"),
    ...hello.lanes.map((/** @type {Lane} */ lane) => h("option", { value: lane.label }, lane.label)));
  for (const button of by_id("break").querySelectorAll("button")) {
    button.disabled = !hello.lecturer;
    button.onclick = () => break_it(button.dataset.fault, where.value);
  }
}

/**
 * @param {string} fault
 * @param {string} where
 */
async function break_it(fault, where) {
  const lanes = hello.lanes.filter((/** @type {Lane} */ lane) => where === "all" || lane.label === where);
  try {
    if (fault === "kill") {
      const servers = [...new Set(lanes.map((/** @type {Lane} */ lane) => lane.transport))];
      await live.ask("kill", { servers, for_s: 2 });
    } else {
      const for_s = fault === "stall" ? 2 : fault === "lid" ? 5 : 0;
      await live.ask("fault", { fault, lanes: lanes.map((/** @type {Lane} */ lane) => lane.label), for_s });
    }
  } catch (error) {
    notice(/** @type {Error} */ (error).message, true);
  }
}

const FAULT_WORDS = { cut: "cut", stall: "stalled", lid: "lid closed", kill: "server killed" };

/** @param {{fault: "cut" | "stall" | "lid" | "kill", lanes: string[], for_s: number, on: boolean}} message */
function show_fault(message) {
  const what = `${FAULT_WORDS[message.fault]}: ${message.lanes.length === hello.lanes.length ? "all lanes" : message.lanes.join(", ")}`;
  by_id("broken").textContent = message.on ? what : `${what} – over`;
  if (message.on) {
    announce(what);
    faults.push({ fault: message.fault, lanes: message.lanes, from_ms: now_ms(), to_ms: Infinity });
  } else {
    const ended = faults.findLast((each) => each.fault === message.fault && each.to_ms === Infinity);
    if (ended) ended.to_ms = now_ms();
  }
}

// views

function show_view() {
  const wanted = VIEWS.includes(String(settings.view)) ? String(settings.view) : "lanes";
  for (const name of VIEWS) by_id(`view-${name}`).hidden = name !== wanted;
  for (const link of document.querySelectorAll("#views a")) {
    const mine = /** @type {HTMLElement} */ (link).dataset.view === wanted;
    if (mine) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (wanted !== "streams") streams?.close();
  if (wanted !== "pong") pong?.close();
  if (wanted === "streams" && !hello.replay) {
    streams ??= new Streams(hello.lanes.find((/** @type {Lane} */ lane) => lane.transport === "sse").subscribe);
  }
  if (wanted === "pong" && !hello.replay) {
    pong ??= new PongView(by_id("view-pong"), hello, live, () => settings, (name, value) => {
      settings[name] = value;
      keep_address();
    });
    pong.open();
  }
}

addEventListener("hashchange", () => {
  ({ settings, wrong, given } = read(location.hash));
  notice(wrong.length ? `The address has settings that are not possible: ${wrong.join("; ")}.` : "", true);
  make_fields();
  predict.show(chosen());
  if (!hello.replay) apply_to_lab();
  show_view();
});

for (const link of document.querySelectorAll("#views a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    settings.view = /** @type {HTMLElement} */ (link).dataset.view ?? "lanes";
    keep_address();
    show_view();
  });
}

// hidden pages

document.addEventListener("visibilitychange", () => {
  if (!run || run.stopped_ms) return;
  if (document.hidden) run.hidden.push([now_ms(), Infinity]);
  else if (run.hidden.length) {
    run.hidden[run.hidden.length - 1][1] = now_ms();
    by_id("hidden-banner").hidden = false;
  }
});

setInterval(() => {
  if (!run || !hello.class || run.stopped_ms) return;
  const { page, grace_ms, ledgers } = run;
  const known = [...ledgers].filter(([, ledger]) => ledger.last_ms !== null);
  const lanes = known.map(([label, ledger]) => [label, {
    p50_ms: ledger.percentile(0.5),
    p99_ms: ledger.percentile(0.99),
    delivered: ledger.delivered,
    lost: ledger.lost(now_ms() - grace_ms),
  }]);
  live.ask("figures", { name: `page ${page}`, lanes: Object.fromEntries(lanes) }).catch(() => undefined);
}, FIGURES_EVERY_MS);
