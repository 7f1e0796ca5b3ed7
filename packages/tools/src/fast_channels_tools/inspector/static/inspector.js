/** The page: asks the feed, works out rates of what it counts, and shows them. */

import { FastChannels } from "./fast-channels.js";
import { Plot } from "./plot.js";
import { Tail } from "./tail.js";

const $ = (id) => document.getElementById(id);
const SECONDS_KEPT = 61;

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const count = (value) => (value < 100_000 ? whole.format(value) : short.format(value));
const rate = (value) => (value > 0 && value < 10 ? value.toFixed(1).replace(/\.0$/, "") : count(value));
const duration = (ms) => (ms >= 1_000 ? `${(ms / 1_000).toFixed(1)} s` : `${ms < 10 ? ms.toFixed(1) : whole.format(ms)} ms`);

const plots = {
  messages: new Plot($("plot-messages"), "Messages per second", [["sent", "Sent"], ["delivered", "Delivered"]], { format: rate }),
  lost: new Plot($("plot-lost"), "Lost per second", [["lost", "Lost"], ["gaps", "Gaps"]], { format: rate }),
  waiting: new Plot($("plot-waiting"), "Waiting messages", [["unread", "Unread"], ["waiting", "Unsent"]], { format: rate }),
  latency: new Plot($("plot-latency"), "Time to publish", [["latency", "Mean"]], { format: duration }),
};

const url = new URL("feed", document.baseURI);
url.protocol = url.protocol.replace("http", "ws");
const feed = new FastChannels(url, { maxDelay: 5_000, heartbeat: 4_000, patience: 4_000 });

let drops = [];
let mayTail = true;
let wantedLayer = "";
let shownLayer = "";
let seen = new Map(); // by layer: the last look, and a minute of losses
let told = { layers: [], groups: { rows: [] } };

const tail = new Tail(() => {
  const hash = tail.group ? `#${[tail.layer, tail.group].map(encodeURIComponent).join("/")}` : "";
  history.replaceState(null, "", `${location.pathname}${location.search}${hash}`);
  showGroups();
});

// --- the feed -------------------------------------------------------------------------------------

const STATES = { connecting: ["asking", "Connecting"], online: ["good", "Live"], offline: ["bad", "Not connected"], closed: ["bad", "Ended"] };

function showConnection(state) {
  const [color, text] = STATES[state];
  $("connection").dataset.state = color;
  $("connection-text").textContent = text;
  document.body.classList.toggle("stale", state !== "online");
  if (state !== "online") Object.values(plots).forEach((plot) => plot.halt());
}

feed.on("state", (state) => {
  showConnection(state);
  if (state === "online") tellWishes();
  else if (state === "offline") {
    notice("The server does not answer. The page goes on by itself when it is back.");
    askWhy();
  }
});

let asking = 0;

/** A browser does not tell why a WebSocket was refused, but it tells that of the page. */
async function askWhy() {
  clearTimeout(asking);
  const answer = await fetch("", { method: "HEAD", cache: "no-store" }).catch(() => null);
  if (feed.state !== "offline") return;
  if (answer?.status === 403) {
    feed.close();
    tail.close();
    notice("You may not look at this any more. Log in again, and load the page anew.");
  } else {
    asking = setTimeout(askWhy, 3_000);
  }
}

feed.on("message", (content) => {
  if (content?.kind === "hello") {
    drops = content.drops;
    mayTail = content.tail;
    $("process").textContent = `process ${content.pid} on ${content.host}`;
    seen = new Map();
    Object.values(plots).forEach((plot) => plot.push({}));
  } else if (content?.kind === "look") {
    notice("");
    look(content);
  }
});

function tellWishes() {
  feed.send({ layer: wantedLayer, filter: $("filter").value.trim() });
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

// --- numbers --------------------------------------------------------------------------------------

const lostIn = (stats) => drops.reduce((sum, reason) => sum + (stats[reason] ?? 0), 0);

/** What happened since the last look, per second; null if that is too short ago, or unknown. */
function ratesOf({ alias, stats, publishing }, at) {
  const before = seen.get(alias);
  const lost = lostIn(stats);
  if (before === undefined || stats.sent < before.stats.sent || stats.delivered < before.stats.delivered) {
    seen.set(alias, { at, stats, publishing, lost, minute: [stats] });
    return null;
  }
  const seconds = at - before.at;
  if (seconds < 0.9) return null;
  const batches = (publishing?.count ?? 0) - (before.publishing?.count ?? 0);
  const spent = (publishing?.seconds ?? 0) - (before.publishing?.seconds ?? 0);
  const minute = [...before.minute, stats].slice(-SECONDS_KEPT);
  seen.set(alias, { at, stats, publishing, lost, minute });
  return {
    sent: (stats.sent - before.stats.sent) / seconds,
    delivered: (stats.delivered - before.stats.delivered) / seconds,
    lost: (lost - before.lost) / seconds,
    gaps: (stats.gaps - before.stats.gaps) / seconds,
    latency: batches > 0 ? (spent / batches) * 1_000 : null,
    unread: stats.unread,
    waiting: stats.waiting,
  };
}

function look(content) {
  told = content;
  const { layers, groups, at } = content;
  $("no-layer").hidden = layers.length > 0;
  $("board").hidden = layers.length === 0;
  const rates = new Map(layers.map((layer) => [layer.alias, ratesOf(layer, at)]));
  showLayers(layers, groups.layer);
  const layer = layers.find(({ alias }) => alias === groups.layer);
  if (layer === undefined) return;
  if (shownLayer !== layer.alias) {
    shownLayer = layer.alias;
    Object.values(plots).forEach((plot) => plot.clear());
  }
  const now = rates.get(layer.alias);
  if (now !== null) {
    Object.values(plots).forEach((plot) => plot.push(now));
    for (const name of ["sent", "delivered", "lost"]) $(`rate-${name}`).textContent = rate(now[name]);
    $("tile-lost").classList.toggle("bad", now.lost > 0);
  }
  for (const element of document.querySelectorAll("[data-stat]")) {
    const value = layer.stats[element.dataset.stat];
    element.textContent = value === undefined ? "–" : count(value);
  }
  $("kind").textContent = layer.kind;
  $("prefix").textContent = layer.prefix ?? "–";
  showHealth(layer.health);
  showLosses(layer);
  showGroups();
}

function showHealth(health) {
  const state = health?.state ?? "asking";
  const texts = { good: "The layer hears", bad: "The layer is deaf", unknown: "Not known", asking: "Asking the broker" };
  if ($("health").dataset.state !== state) {
    $("health").dataset.state = state;
    $("health-text").textContent = texts[state];
  }
  const detail = health?.reason || (state === "good" ? "A message to itself came back through the broker." : "");
  if ($("health-detail").textContent !== detail) $("health-detail").textContent = detail;
  $("round-trip").textContent = state === "good" ? duration(health.seconds * 1_000) : "–";
}

function showLosses({ alias, stats }) {
  const minute = seen.get(alias)?.minute[0] ?? stats;
  const found = drops.filter((reason) => stats[reason] > 0);
  $("no-losses").hidden = found.length > 0;
  $("losses").hidden = found.length === 0;
  const rows = found.map((reason) => row([reason], count(stats[reason] - minute[reason]), count(stats[reason])));
  $("losses").tBodies[0].replaceChildren(...rows);
}

function row(head, ...numbers) {
  const made = document.createElement("tr");
  const first = document.createElement("th");
  first.scope = "row";
  first.append(...head);
  made.append(first);
  for (const number of numbers) {
    const cell = document.createElement("td");
    cell.className = "number";
    cell.textContent = number;
    made.append(cell);
  }
  return made;
}

// --- layers and groups ----------------------------------------------------------------------------

/** The element's children are these, by key; those that stay keep the focus. */
function keep(parent, keys, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const children = keys.map((key) => known.get(key) ?? make(key));
  children.forEach((child, index) => {
    child.dataset.key = keys[index];
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.childElementCount > children.length) parent.lastElementChild.remove();
  return children;
}

function showLayers(layers, shown) {
  const aliases = layers.map(({ alias }) => alias);
  $("layers").hidden = aliases.length < 2;
  const buttons = keep($("layers"), aliases, (alias) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "layer state";
    const light = document.createElement("span");
    light.className = "light";
    light.setAttribute("aria-hidden", "true");
    const verdict = document.createElement("span");
    verdict.className = "hidden verdict";
    button.append(light, alias, verdict);
    button.addEventListener("click", () => {
      wantedLayer = alias;
      tellWishes();
    });
    return button;
  });
  buttons.forEach((button, index) => {
    const state = layers[index].health?.state ?? "asking";
    button.dataset.state = state;
    button.querySelector(".verdict").textContent = { good: " hears", bad: " is deaf" }[state] ?? "";
    if (aliases[index] === shown) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  });
}

function showGroups() {
  const { rows, found = 0, all = 0, layer } = told.groups;
  const canTail = mayTail && told.layers.find(({ alias }) => alias === layer)?.tail;
  let note = "";
  if (all === 0) note = "No group has a member in this process.";
  else if (found === 0) note = "No group has this in its name.";
  else if (found > rows.length) note = `The largest ${rows.length} of ${count(found)}.`;
  if ($("groups-note").textContent !== note) $("groups-note").textContent = note;
  $("groups").hidden = rows.length === 0;
  const made = keep($("groups").tBodies[0], rows.map(({ name }) => name), (name) => {
    const button = document.createElement(canTail ? "button" : "span");
    button.textContent = name;
    if (canTail) {
      button.type = "button";
      button.className = "link";
      button.addEventListener("click", () => {
        tail.open(told.groups.layer, name);
        if (matchMedia("(max-width: 60rem)").matches) $("tail").scrollIntoView();
      });
    }
    return row([button], "");
  });
  made.forEach((each, index) => {
    each.lastElementChild.textContent = count(rows[index].members);
    const isOpen = tail.group === rows[index].name && tail.layer === layer;
    each.classList.toggle("chosen", isOpen);
    if (isOpen) each.setAttribute("aria-current", "true");
    else each.removeAttribute("aria-current");
  });
  if (!mayTail) $("tail").hidden = true;
}

let typing = 0;
$("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(tellWishes, 150);
});

const [layer, group] = location.hash.slice(1).split("/").map(decodeURIComponent);
if (group) {
  wantedLayer = layer;
  tail.open(layer, group);
}
showConnection(feed.state);
