/**
 * Subscriptions to a ResumableWebsocketConsumer of Fast Channels, over one WebSocket that comes back.
 *
 * Law: what a subscription hands over is in order and comes once; where something may be missing, a
 * "gap" says so at that place.
 */

const KEY = "channels"; // of every frame that is the protocol's and not the application's
const DEFAULTS = {
  minDelay: 1_000,
  maxDelay: 30_000,
  openTimeout: 10_000,
  heartbeat: 25_000,
  patience: 10_000,
  stable: 5_000,
  queue: 100,
  storage: null,
  isFinal: (code) => FINAL.has(code) || (code >= 4400 && code < 4500),
};
// The server understood us and does not want us, or never will understand us.
const FINAL = new Set([1003, 1007, 1008, 1009, 1010]);

class Emitter {
  #listeners = new Map();

  /** Call `listener` at each event of that type; returns what ends that. */
  on(type, listener) {
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
    this.#listeners.get(type).add(listener);
    return () => this.#listeners.get(type).delete(listener);
  }

  _emit(type, ...details) {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) {
      try {
        listener(...details);
      } catch (error) {
        // A mistake in a page must not cost it the messages that come after.
        setTimeout(() => {
          throw error;
        });
      }
    }
  }
}

/** A time to wait: anything up to a bound that doubles, so that a thousand clients never come at one instant. */
function jittered({ minDelay, maxDelay }, failures) {
  return Math.random() * Math.min(maxDelay, minDelay * 2 ** Math.min(failures, 30));
}

export class FastChannels extends Emitter {
  #url;
  #options;
  #socket = null;
  #subscriptions = new Map();
  #queue = [];
  #retryTimer = 0;
  #socketTimer = 0;
  #stableTimer = 0;
  #failures = 0;
  #heard = 0;
  #state = "closed";
  #page = [];

  /** `url` is an address, or what returns (a promise of) one for each attempt. The first begins now. */
  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = { ...DEFAULTS, ...options };
    this.connect();
  }

  /** "connecting", "online", "offline" (it comes back by itself) or "closed" (it does not). */
  get state() {
    return this.#state;
  }

  /** Come back, now rather than later; also after a close. */
  connect() {
    if (this.#socket !== null) return;
    if (this.#state === "closed") {
      this.#listenToPage();
      this.#failures = 0;
      this.#become("connecting");
    }
    this.#open();
  }

  /** No more attempts; what waits to be sent is dropped. */
  close() {
    this.#queue = [];
    this.#stop();
    this.#become("closed", { code: 1000, reason: "" });
  }

  /**
   * Send JSON of the application's own: now, or when the connection is back.
   * Returns false, and drops it, if too much waits already.
   */
  send(content) {
    if (content !== null && typeof content === "object" && KEY in content) {
      throw new TypeError(`an object with the key "${KEY}" is the protocol's; use another key`);
    }
    const text = JSON.stringify(content);
    if (text === undefined) throw new TypeError(`${typeof content} has no JSON form`);
    if (this.#state === "closed") return false;
    if (this._write(text)) return true;
    if (this.#queue.length >= this.#options.queue) return false;
    this.#queue.push(text);
    return true;
  }

  /** The subscription to the group of that name: the one there is, or a new one. */
  subscribe(name, options = {}) {
    const known = this.#subscriptions.get(name);
    if (known !== undefined) return known;
    const made = new Subscription(this, name, { ...this.#options, ...options });
    this.#subscriptions.set(name, made);
    if (this.#state === "online") made._start();
    return made;
  }

  /** True if the text is with the socket. */
  _write(text) {
    if (this.#state !== "online") return false;
    this.#socket.send(text);
    return true;
  }

  _say(kind, fields) {
    return this._write(JSON.stringify({ [KEY]: kind, ...fields }));
  }

  _forget(subscription) {
    if (this.#subscriptions.get(subscription.name) !== subscription) return false;
    return this.#subscriptions.delete(subscription.name);
  }

  // --- the socket ---------------------------------------------------------------------------------

  async #open() {
    clearTimeout(this.#retryTimer);
    const socket = (this.#socket = { readyState: WebSocket.CONNECTING, close() {} }); // until there is a url
    let real;
    try {
      const url = typeof this.#url === "function" ? await this.#url() : this.#url;
      if (this.#socket !== socket) return;
      real = this.#socket = new WebSocket(url);
    } catch (error) {
      this._emit("error", { code: "url", detail: String(error) });
      this.#lose(socket);
      return;
    }
    this.#socketTimer = setTimeout(() => this.#lose(real), this.#options.openTimeout);
    real.onopen = () => this.#opened(real);
    real.onmessage = ({ data }) => this.#receive(data);
    real.onclose = ({ code, reason }) => this.#lose(real, code, reason);
  }

  #opened(socket) {
    clearTimeout(this.#socketTimer);
    // Who accepts and closes at once, again and again, is not to be asked ever faster.
    this.#stableTimer = setTimeout(() => (this.#failures = 0), this.#options.stable);
    this.#heard = Date.now();
    this.#beat(socket);
    this.#state = "online";
    for (const subscription of this.#subscriptions.values()) subscription._start();
    const waiting = this.#queue;
    this.#queue = [];
    for (const text of waiting) this._write(text);
    this._emit("state", "online", {});
  }

  #lose(socket, code = 1006, reason = "") {
    if (socket !== this.#socket) return;
    const opened = this.#state === "online";
    this.#abandon();
    for (const subscription of this.#subscriptions.values()) subscription._stop();
    if (this.#options.isFinal(code)) {
      this.#stop();
      this.#become("closed", { code, reason });
      return;
    }
    this.#retry(jittered(this.#options, this.#failures));
    this.#failures += 1;
    this.#become("offline", { code, reason, opened });
  }

  #retry(delay) {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.connect(), delay);
  }

  /** Nothing of this socket is heard any more. */
  #abandon() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#socketTimer);
    clearTimeout(this.#stableTimer);
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #stop() {
    clearTimeout(this.#retryTimer);
    this.#abandon();
    for (const subscription of this.#subscriptions.values()) subscription._stop();
    for (const [target, type, listener] of this.#page) target.removeEventListener(type, listener);
    this.#page = [];
  }

  #become(state, detail = {}) {
    if (state === this.#state) return;
    this.#state = state;
    this._emit("state", state, detail);
  }

  // --- a link that is half open -------------------------------------------------------------------

  /** Ask after a quiet time; who does not answer is given up. */
  #beat(socket) {
    const quiet = Date.now() - this.#heard;
    clearTimeout(this.#socketTimer);
    if (quiet >= this.#options.heartbeat) this.#probe(socket);
    else this.#socketTimer = setTimeout(() => this.#beat(socket), this.#options.heartbeat - quiet);
  }

  #probe(socket) {
    const asked = Date.now();
    this._say("ping");
    clearTimeout(this.#socketTimer);
    this.#socketTimer = setTimeout(() => {
      if (this.#heard >= asked) this.#beat(socket);
      else this.#lose(socket);
    }, this.#options.patience);
  }

  #listenToPage() {
    const listen = (target, type, listener) => {
      target?.addEventListener?.(type, listener);
      if (target?.addEventListener) this.#page.push([target, type, listener]);
    };
    const awake = () => {
      if (this.#state === "online") this.#probe(this.#socket);
      else if (this.#socket === null) this.#retry(Math.random() * this.#options.minDelay);
    };
    listen(globalThis, "online", awake);
    listen(globalThis, "offline", () => this.#socket !== null && this.#lose(this.#socket));
    // Timers of hidden pages run late, and a machine that slept has missed its heartbeats.
    listen(globalThis.document, "visibilitychange", () => !document.hidden && awake());
  }

  // --- what comes ---------------------------------------------------------------------------------

  #receive(data) {
    this.#heard = Date.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      this._emit("error", { code: "malformed", detail: "the server sent what is no JSON" });
      return;
    }
    if (frame === null || typeof frame !== "object" || !(KEY in frame)) {
      this._emit("message", frame);
      return;
    }
    if (frame[KEY] === "pong") return;
    if (frame.group === null || frame.group === undefined) {
      if (frame[KEY] === "gap") this._emit("gap");
      else this._emit("error", frame);
      return;
    }
    this.#subscriptions.get(frame.group)?._receive(frame);
  }
}

export class Subscription extends Emitter {
  #client;
  #options;
  #asked = false;
  #answered = false; // at least once
  #durable = false;
  #position = null;
  #failures = 0;
  #timer = 0;
  #state = "waiting";

  constructor(client, name, options) {
    super();
    this.#client = client;
    this.#options = options;
    this.name = name;
    /** Who is present, by channel; kept up to date with `watch`. */
    this.members = new Map();
    /** Our own channel among them. */
    this.me = null;
    this.#position = this.#stored("getItem") ?? null;
  }

  /** "waiting", "subscribed", "refused" or "over". */
  get state() {
    return this.#state;
  }

  /** The place after the last message, for groups with a history. */
  get position() {
    return this.#position;
  }

  /** Say something else of ourselves. */
  setPresence(presence) {
    this.#options.presence = presence;
    if (this.#state === "subscribed") this.#client._say("presence", { group: this.name, presence });
  }

  /** No more messages; the position is forgotten. */
  unsubscribe() {
    if (!this.#client._forget(this)) return;
    if (this.#asked) this.#client._say("unsubscribe", { group: this.name });
    clearTimeout(this.#timer);
    this.#stored("removeItem");
    this.#state = "over";
  }

  _start() {
    if (this.#asked || this.#state === "refused") return;
    const { presence, watch } = this.#options;
    this.#asked = this.#client._say("subscribe", { group: this.name, since: this.#since(), presence, watch });
  }

  _stop() {
    clearTimeout(this.#timer);
    this.#asked = false;
    if (this.#state === "subscribed") this.#state = "waiting";
  }

  #since() {
    if (this.#position !== null) return this.#position;
    // Who was here, and has no position, cannot be caught up: that is what "" says.
    return this.#answered && !this.#durable ? "" : this.#options.since;
  }

  _receive(frame) {
    const kind = frame[KEY];
    if (kind === "subscribed") this.#begin(frame);
    else if (kind === "error") this.#failed(frame);
    else if (this.#state !== "subscribed") return; // of a subscription before this one
    else if (kind === "message") this.#message(frame);
    else if (kind === "gap") this._emit("gap");
    else if (kind === "presence") this.#present(frame);
  }

  #begin({ recovered, position, durable, me }) {
    this.#failures = 0;
    this.#state = "subscribed";
    this.#answered = true;
    this.#durable = durable;
    this.me = me;
    this.#keep(position);
    this._emit("subscribed", { recovered, durable });
    if (!recovered) this._emit("gap");
  }

  #message({ data, position }) {
    this._emit("message", data, position);
    if (position !== null) this.#keep(position);
  }

  #keep(position) {
    this.#position = position;
    if (position === null) this.#stored("removeItem");
    else this.#stored("setItem", position);
  }

  #present({ state, joins = {}, leaves = {}, replaces = {} }) {
    const members = state === undefined ? this.members : new Map(Object.entries(state));
    this.members = members;
    for (const [channel, presence] of Object.entries(joins)) {
      if (channel in replaces) members.delete(replaces[channel]);
      members.set(channel, presence);
    }
    for (const channel of Object.keys(leaves)) members.delete(channel);
    this._emit("presence", members, { joins, leaves, replaces, state });
  }

  #failed(frame) {
    if (frame.code === "unavailable") {
      const delay = jittered(this.#options, this.#failures++);
      this.#asked = false;
      this.#timer = setTimeout(() => this._start(), delay);
    } else if (this.#state !== "subscribed") {
      this.#state = "refused";
    }
    this._emit("error", frame);
  }

  #stored(method, ...value) {
    try {
      return this.#options.storage?.[method](`${KEY}:${this.name}`, ...value);
    } catch {
      return null; // storage is full or forbidden: nothing outlives the page
    }
  }
}
