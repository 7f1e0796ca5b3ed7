/** What comes to one group, and who is there: a bounded list that stands still when asked to. */

import { FastChannels } from "./fast-channels.js";

const KEPT = 200; // messages in the list
const HELD = 200; // messages that wait while it is paused

const $ = (id) => document.getElementById(id);

export class Tail {
  #client = null;
  #ends = [];
  #paused = false;
  #held = [];
  #dropped = 0;
  #layer = "";
  #group = "";
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    $("pause").addEventListener("click", () => this.#pause(!this.#paused));
    $("clear").addEventListener("click", () => this.#clear());
    $("stop").addEventListener("click", () => this.close());
  }

  get layer() {
    return this.#layer;
  }

  get group() {
    return this.#group;
  }

  /** Show this group from now on, with what its history has. */
  open(layer, group) {
    if (layer === this.#layer && group === this.#group) return;
    this.#end();
    [this.#layer, this.#group] = [layer, group];
    $("present").hidden = true;
    this.#clear();
    this.#pause(false);
    for (const id of ["pause", "clear", "stop", "tail-scroller"]) $(id).hidden = false;
    $("tail-title").textContent = `Messages of ${group}`;
    this.#note("Joining the group");
    const url = new URL(`tail/${encodeURIComponent(layer)}`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    this.#client = new FastChannels(url, { maxDelay: 5_000, heartbeat: 10_000, patience: 5_000 });
    const subscription = this.#client.subscribe(group, { since: "last:20", watch: true });
    let durable = false;
    let began = false;
    this.#ends = [
      this.#client.on("state", (state) => {
        if (state === "offline") this.#note("Not connected; what comes now is not shown");
        if (state === "closed") this.#note("The server does not show this group");
      }),
      this.#client.on("message", (content) => {
        if (content?.kind === "left_out") this.#mark(`${content.count} more, too fast to be shown`);
        if (content?.kind === "present") this.#showPresent(content);
      }),
      subscription.on("subscribed", (answer) => {
        durable = answer.durable;
        this.#note("");
      }),
      subscription.on("gap", () => {
        if (began || durable) this.#mark("messages may be missing here");
        began = true;
      }),
      subscription.on("message", (data) => {
        began = true;
        this.#arrived({ data });
      }),
      subscription.on("error", ({ detail }) => this.#note(detail)),
    ];
    this.#onChange();
  }

  close() {
    this.#end();
    this.#layer = this.#group = "";
    for (const id of ["pause", "clear", "stop", "tail-scroller", "present"]) $(id).hidden = true;
    $("tail-title").textContent = "Messages";
    this.#clear();
    this.#note("Choose a group to see what comes to it.");
    this.#onChange();
  }

  #end() {
    for (const end of this.#ends) end();
    this.#ends = [];
    this.#client?.close();
    this.#client = null;
  }

  #note(text) {
    this.#noted = text;
    this.#tell();
  }

  #noted = "";

  #tell() {
    const empty = !$("messages").childElementCount;
    const waiting = this.#held.length + this.#dropped;
    let text = this.#noted;
    if (!text && this.#paused) text = waiting ? `Paused; ${waiting} wait` : "Paused";
    if (!text && empty) text = "Nothing has come since you look.";
    $("tail-note").textContent = text;
    $("tail-note").hidden = !text;
  }

  #pause(paused) {
    this.#paused = paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    $("pause").textContent = paused ? "Go on" : "Pause";
    if (!paused) {
      const [held, dropped] = [this.#held, this.#dropped];
      [this.#held, this.#dropped] = [[], 0];
      if (dropped) this.#mark(`${dropped} more came while this was paused`);
      for (const each of held) this.#show(each);
    }
    this.#tell();
  }

  #clear() {
    $("messages").replaceChildren();
    [this.#held, this.#dropped] = [[], 0];
    this.#tell();
  }

  #mark(text) {
    this.#arrived({ mark: text });
  }

  #arrived(entry) {
    const at = new Date();
    if (!this.#paused) {
      this.#show({ ...entry, at });
    } else {
      this.#held.push({ ...entry, at });
      if (this.#held.length > HELD) {
        this.#held.shift();
        this.#dropped += 1;
      }
    }
    this.#tell();
  }

  #show({ data, mark, at }) {
    const list = $("messages");
    const scroller = $("tail-scroller");
    const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
    const item = document.createElement("li");
    if (mark) {
      item.className = "mark";
      item.textContent = mark;
    } else {
      const time = document.createElement("time");
      time.dateTime = at.toISOString();
      time.textContent = at.toTimeString().slice(0, 8);
      const type = document.createElement("span");
      const isObject = data !== null && typeof data === "object" && !Array.isArray(data);
      const { type: kind, ...rest } = isObject ? data : { type: "", data };
      type.className = "type";
      type.textContent = typeof kind === "string" ? kind : JSON.stringify(kind ?? "");
      const body = document.createElement("pre");
      body.textContent = isObject ? JSON.stringify(rest, null, 1).replace(/\n\s*/g, " ") : JSON.stringify(data);
      item.append(time, type, body);
    }
    list.append(item);
    while (list.childElementCount > KEPT) list.firstElementChild.remove();
    if (atEnd) scroller.scrollTop = scroller.scrollHeight;
  }

  #showPresent({ count, some }) {
    const names = some.map((each) => {
      const named = each?.name ?? each?.user ?? each?.username ?? each?.id;
      const name = typeof named === "string" || typeof named === "number" ? String(named) : JSON.stringify(each);
      return name.length > 40 ? `${name.slice(0, 40)}…` : name;
    });
    const more = count > names.length ? ` and ${count - names.length} more` : "";
    $("present").hidden = count === 0;
    $("present").textContent = `Present in all processes: ${count} (${names.join(", ")}${more})`;
  }
}
