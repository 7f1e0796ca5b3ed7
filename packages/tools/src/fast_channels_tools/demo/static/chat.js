/** The page: what the room says becomes messages and notices; what is typed goes to the room. */

import { FastChannels } from "./fast-channels.js";

const TYPING_EVERY = 2_000; // milliseconds between two "typing" of ours
const TYPING_LASTS = 4_500; // after this without news somebody has stopped typing
const LINK = { minDelay: 1_000, maxDelay: 6_000, openTimeout: 8_000, heartbeat: 8_000, patience: 5_000 };
const LOG_LENGTH = 500;
const TOGETHER = 5 * 60_000; // messages of one person within this stand under one name
const ROOMS_REMEMBERED = 8;

const STATES = {
  connecting: "Connecting",
  online: "Connected",
  offline: "Offline, reconnecting",
  refused: "Not connected",
};

const $ = (id) => document.getElementById(id);
const ui = {
  composer: $("composer"), connection: $("connection"), connectionText: $("connection-text"),
  empty: $("empty"), emptyText: $("empty-text"), emptyTitle: $("empty-title"), latest: $("latest"), left: $("left"), log: $("log"), me: $("me"),
  meName: $("me-name"), menu: $("menu"), nameDialog: $("name-dialog"), nameError: $("name-error"),
  nameForm: $("name-form"), nameInput: $("name-input"), newWindow: $("new-window"),
  notice: $("notice"), noticeText: $("notice-text"), panel: $("panel"), pending: $("pending"), people: $("people"),
  retry: $("retry"), room: $("room"), roomForm: $("room-form"), roomInput: $("room-input"),
  rooms: $("rooms"), scroller: $("scroller"), send: document.querySelector(".send"),
  text: $("text"), typing: $("typing"),
};

// What this browser or this tab remembers. A browser may forbid storage; then nothing is remembered.

function recall(storage, key, otherwise) {
  try {
    return JSON.parse(window[storage].getItem(`chat.${key}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function remember(storage, key, value) {
  try {
    window[storage].setItem(`chat.${key}`, JSON.stringify(value));
  } catch {
    // Forgotten on reload.
  }
}

const browser = { recall: recall.bind(null, "localStorage"), remember: remember.bind(null, "localStorage") };
const tab = { recall: recall.bind(null, "sessionStorage"), remember: remember.bind(null, "sessionStorage") };

let room = "";
let name = tab.recall("name") ?? browser.recall("name") ?? "";
let connection = null;
let sent = new Set(tab.recall("sent", [])); // ids of what this tab said
let kept = false; // the server keeps what is said
let fresh = true; // the log begins with what the server sends now
let welcomedAs = ""; // in this room
let outbox = tab.recall("outbox", []); // {id, room, text} not yet heard back from the room
let seen = new Set(); // ids of the messages in the log: one sent twice is shown once
let people = new Map(); // connection of somebody in this room -> name
let me = ""; // our connection among these
let typers = new Map(); // name -> the timer that ends "is typing"
let lastTyping = 0;
let unread = 0;
let height = 0; // of the log
let following = true; // the end of the log is in view, and new messages scroll it on

// The connection

function enterRoom() {
  connection?.close();
  room = roomOfAddress();
  welcomedAs = "";
  seen = new Set();
  ui.log.replaceChildren();
  for (const timer of typers.values()) clearTimeout(timer);
  typers.clear();
  showTyping();
  people.clear();
  showPeople();
  showRoom();
  showPending();
  showNotice("");
  ui.text.value = tab.recall(`draft.${room}`, "");
  fitText();
  if (name === "") askName();
  else connect();
}

function connect() {
  connection?.close();
  // To a browser these two are folders: the server would be asked for another address.
  if (room === "." || room === "..") {
    connection = null;
    showState("refused");
    refused("use 1 to 80 of A-Z a-z 0-9 . _ - (a letter or digit first)");
    return;
  }
  const url = new URL(`ws/${encodeURIComponent(room)}`, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  showState("connecting");
  connection = new FastChannels(url, LINK);
  connection.on("state", (state, { code, reason }) => {
    if (state === "offline") showState("offline");
    if (state !== "closed" || code === 1000) return;
    showState("refused");
    refused(reason);
  });
  connection.on("message", failed); // the only thing that the server says outside of rooms
  fresh = true;
  const talk = connection.subscribe("room", { since: "last:100", presence: { name }, watch: true });
  let entered = false;
  talk.on("subscribed", (answer) => {
    kept = answer.durable;
    entered = false; // until we know who is here
  });
  talk.on("message", addMessage);
  talk.on("gap", () => !fresh && addNotice("Something may be missing here"));
  talk.on("error", failed);
  talk.on("presence", (members, change) => {
    me = talk.me;
    if (change.state === undefined) {
      joined(change);
      left(change);
      return;
    }
    people = new Map([...members].map(([id, who]) => [id, who.name]));
    showPeople();
    if (!entered) welcomed();
    entered = true;
    fresh = false;
  });
  connection.subscribe("typing").on("message", (typing) => startsTyping(typing.name));
}

function welcomed() {
  showState("online");
  addNotice(welcomedAs === name ? "You are back" : `You joined as ${name}`);
  welcomedAs = name;
  showRoom();
  for (const message of pendingHere()) deliver(message);
}

function failed({ detail, id }) {
  if (id !== undefined) {
    const message = outbox.find((waiting) => waiting.id === id);
    settle(id);
    addNotice(`Not sent: ${detail}`);
    if (message && ui.text.value === "") setText(message.text);
  } else if (isOnline()) {
    addNotice(detail);
  } else {
    connection.close();
    askName(detail);
  }
}

function refused(reason) {
  showEmpty();
  showNotice(`No room can be called “${room}”: ${reason || "the server gave no reason"}.`);
}

// Messages of ours: kept in the outbox until the room has repeated them

function submit() {
  const text = ui.text.value.trim();
  if (text === "" || connection === null || ui.connection.dataset.state === "refused") return;
  const message = { id: newId(), room, text: text.toWellFormed?.() ?? text };
  outbox.push(message);
  tab.remember("outbox", outbox);
  setText("");
  lastTyping = 0;
  showPending();
  scrollDown();
  if (isOnline()) deliver(message);
}

function isOnline() {
  return ui.connection.dataset.state === "online";
}

function deliver({ id, text }) {
  connection.send({ type: "message", id, text });
}

function settle(id) {
  outbox = outbox.filter((message) => message.id !== id);
  tab.remember("outbox", outbox);
  sent = new Set([...sent, id].slice(-LOG_LENGTH));
  tab.remember("sent", [...sent]);
  showPending();
}

function pendingHere() {
  return outbox.filter((message) => message.room === room);
}

function newId() {
  // crypto.randomUUID exists only on https and localhost, and a phone comes by neither.
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");
}

// The log. Everything that people wrote goes through textContent, never through HTML.

function element(tagName, className, text = "") {
  const made = document.createElement(tagName);
  made.className = className;
  made.textContent = text;
  return made;
}

function addMessage({ id, name: author, text, at }) {
  stopsTyping(author);
  if (outbox.some((message) => message.id === id)) settle(id);
  const mine = sent.has(id);
  if (seen.has(id)) return;
  seen.add(id);

  const now = new Date(at * 1_000);
  const previous = ui.log.lastElementChild;
  const together =
    previous?.dataset.author === author &&
    previous.classList.contains("mine") === mine &&
    now - Number(previous.dataset.at) < TOGETHER;

  const item = element("li", `message${mine ? " mine" : ""}${together ? " together" : ""}`);
  item.dataset.author = author;
  item.dataset.at = String(now.getTime());
  item.style.setProperty("--hue", hueOf(author));

  const avatar = element("span", "avatar", initial(author));
  avatar.ariaHidden = "true";
  const head = element("p", "head");
  const time = element("time", "time", now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = now.toISOString();
  head.append(element("bdi", "author", mine ? `${author} (you)` : author), " ", time);
  const body = element("p", "text", text);
  body.dir = "auto";
  item.append(avatar, head, body);
  append(item, mine);
}

function addNotice(text) {
  const notice = element("li", "notice", text);
  notice.dir = "auto";
  append(notice);
}

function append(item, always = false) {
  const follow = always || following;
  ui.log.append(item);
  while (ui.log.children.length > LOG_LENGTH) ui.log.firstElementChild.remove();
  showEmpty();
  if (follow) scrollDown();
  else if (!item.classList.contains("notice")) ui.latest.hidden = false;
  if (document.hidden && !item.classList.contains("notice")) {
    unread += 1;
    showTitle();
  }
}

function showPending() {
  ui.pending.replaceChildren(
    ...pendingHere().map(({ text }) => {
      const item = element("li", "message mine together waiting");
      const body = element("p", "text", text);
      body.dir = "auto";
      item.append(body, element("p", "waiting-note", "Waiting to be sent"));
      return item;
    }),
  );
  showEmpty();
}

function showEmpty() {
  const talked = ui.log.querySelector(".message") !== null || ui.pending.children.length > 0;
  ui.empty.hidden = talked;
  const closed = ui.connection.dataset.state === "refused";
  ui.emptyTitle.textContent = closed ? "This room does not exist" : "It is quiet in here";
  ui.emptyText.textContent = closed
    ? "Choose another one from the list of rooms."
    : `Say something. Whoever is in the room sees it at once; ${kept ? "it is kept for who is away" : "nothing is kept for those who come later"}.`;
}

function isAtEnd() {
  const { scrollHeight, scrollTop, clientHeight } = ui.scroller;
  return scrollHeight - scrollTop - clientHeight < 60;
}

function scrollDown() {
  ui.scroller.scrollTop = ui.scroller.scrollHeight;
  ui.latest.hidden = true;
  following = true;
}

function initial(author) {
  return [...author][0].toUpperCase();
}

function hueOf(author) {
  let hash = 0;
  for (const letter of author) hash = Math.imul(hash ^ letter.codePointAt(0), 0x9e3779b1);
  return String(((hash >>> 8) % 12) * 30);
}

// Who is here

function joined({ joins, replaces }) {
  for (const [id, { name: who }] of Object.entries(joins)) {
    if (id in replaces) people.delete(replaces[id]); // who was here, and came back
    else if (id !== me && !people.has(id)) addNotice(`${who} joined`);
    people.set(id, who);
  }
  showPeople();
}

function left({ leaves }) {
  for (const [id, { name: who }] of Object.entries(leaves)) {
    people.delete(id);
    stopsTyping(who);
    addNotice(`${who} left`);
  }
  showPeople();
}

function showPeople() {
  const labelled = [...people].map(([id, who]) => [who, id === me ? `${who} (you)` : who]);
  labelled.sort(([, one], [, other]) => one.localeCompare(other));
  ui.people.replaceChildren(
    ...labelled.map(([who, label]) => {
      const item = element("li", "", label);
      item.dir = "auto";
      item.style.setProperty("--hue", hueOf(who));
      return item;
    }),
  );
}

// Who is typing

function startsTyping(who) {
  clearTimeout(typers.get(who));
  typers.set(who, setTimeout(() => stopsTyping(who), TYPING_LASTS));
  showTyping();
}

function stopsTyping(who) {
  clearTimeout(typers.get(who));
  if (typers.delete(who)) showTyping();
}

function showTyping() {
  const [first, second, ...others] = typers.keys();
  if (first === undefined) ui.typing.textContent = "";
  else if (second === undefined) ui.typing.textContent = `${first} is typing…`;
  else if (others.length === 0) ui.typing.textContent = `${first} and ${second} are typing…`;
  else ui.typing.textContent = `${first}, ${second} and ${others.length} more are typing…`;
}

// What is shown around the log

function showState(state) {
  ui.connection.dataset.state = state;
  ui.connectionText.textContent = STATES[state];
  ui.send.disabled = state === "refused";
  ui.text.disabled = state === "refused";
  if (state === "offline") {
    for (const who of [...typers.keys()]) stopsTyping(who);
    people.clear();
    showPeople();
    showNotice("No connection to the server. What you send is kept and goes out when it is back.", true);
  } else if (state === "online") {
    showNotice("");
  }
}

function showNotice(text, canRetry = false) {
  ui.noticeText.textContent = text;
  ui.notice.hidden = text === "";
  ui.retry.hidden = !canRetry;
}

function showTitle() {
  document.title = `${unread > 0 ? `(${unread}) ` : ""}#${room} · Fast Channels`;
}

function showRoom() {
  showTitle();
  ui.room.textContent = room;
  ui.newWindow.href = location.href;
  ui.meName.textContent = name;
  ui.me.hidden = name === "";
  ui.me.style.setProperty("--hue", hueOf(name));
  const others = browser.recall("rooms", ["lobby"]).filter((known) => known !== room);
  const known = [room, ...others].slice(0, ROOMS_REMEMBERED);
  if (welcomedAs !== "") browser.remember("rooms", known);
  ui.rooms.replaceChildren(
    ...[...known].sort().map((each) => {
      const item = document.createElement("li");
      const link = element("a", "room-link", each);
      link.href = `#${encodeURIComponent(each)}`;
      if (each === room) link.ariaCurrent = "page";
      item.append(link);
      return item;
    }),
  );
}

function roomOfAddress() {
  const written = location.hash.slice(1);
  try {
    return decodeURIComponent(written) || "lobby";
  } catch {
    return written; // a stray percent sign
  }
}

function togglePanel(open) {
  document.body.classList.toggle("panel-open", open);
  ui.menu.ariaExpanded = String(open);
  if (open) ui.rooms.querySelector("a").focus();
}

function askName(problem = "") {
  ui.nameError.textContent = problem;
  ui.nameInput.value = name;
  if (!ui.nameDialog.open) ui.nameDialog.showModal();
  ui.nameInput.select();
}

function takeName(wanted) {
  const given = wanted.trim().replace(/\s+/g, " ");
  const changed = given !== name;
  name = given;
  tab.remember("name", name);
  browser.remember("name", name);
  showRoom();
  if (changed || !isOnline()) connect();
  ui.text.focus();
}

function setText(text) {
  ui.text.value = text;
  tab.remember(`draft.${room}`, text);
  fitText();
}

function fitText() {
  ui.text.style.height = "auto";
  ui.text.style.height = `${ui.text.scrollHeight + 2}px`;
  const left = ui.text.maxLength - ui.text.value.length;
  ui.left.hidden = left > 200;
  ui.left.textContent = `${left} left`;
}

// What people do

ui.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

ui.text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});

ui.text.addEventListener("input", () => {
  setText(ui.text.value);
  const now = Date.now();
  if (ui.text.value.trim() !== "" && isOnline() && now - lastTyping > TYPING_EVERY) {
    lastTyping = now;
    connection.send({ type: "typing" });
  }
});

ui.nameForm.addEventListener("submit", (event) => {
  event.preventDefault();
  if (ui.nameInput.value.trim() === "") return;
  ui.nameDialog.close();
  takeName(ui.nameInput.value);
});

ui.nameDialog.addEventListener("close", () => {
  // Left with the Escape key: nobody is without a name.
  if (name === "") takeName(`Guest ${Math.ceil(Math.random() * 999)}`);
});

ui.roomForm.addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = ui.roomInput.value.trim().replace(/^#/, "");
  ui.roomInput.value = "";
  if (wanted !== "") location.hash = encodeURIComponent(wanted);
  togglePanel(false);
});

ui.me.addEventListener("click", () => askName());
ui.menu.addEventListener("click", () => togglePanel(!document.body.classList.contains("panel-open")));
$("backdrop").addEventListener("click", () => togglePanel(false));
$("panel-close").addEventListener("click", () => {
  togglePanel(false);
  ui.menu.focus();
});
ui.rooms.addEventListener("click", () => togglePanel(false));
ui.panel.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  togglePanel(false);
  ui.menu.focus();
});
ui.retry.addEventListener("click", () => connection?.connect());
ui.latest.addEventListener("click", scrollDown);
ui.scroller.addEventListener("scroll", () => {
  // A change of size scrolls too, and says nothing about what the reader wants.
  if (ui.scroller.clientHeight === height) following = isAtEnd();
  if (following) ui.latest.hidden = true;
});

new ResizeObserver(() => {
  height = ui.scroller.clientHeight;
  if (following) scrollDown(); // a keyboard or a longer text must not cover the latest message
}).observe(ui.scroller);

window.addEventListener("hashchange", enterRoom);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  showTitle();
});

tab.remember("name", name);
enterRoom();
