/**
 * A WebSocket that comes back.
 *
 * It is "connecting", then "online" once welcomed, "offline" while there is no server, and for good
 * "refused" when the server closed it with one of the codes that mean: do not come again.
 */

const FIRST_DELAY = 400; // milliseconds
const LONGEST_DELAY = 6_000;
const PATIENCE = 8_000; // for the welcome

export class Connection {
  #url;
  #on;
  #socket = null;
  #timer = 0;
  #failures = 0;
  #over = false;
  state = "connecting";

  /** `on` has open(), message(content), state(state) and refused(reason); the first attempt begins. */
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    this.#connect();
  }

  /** Send now; what is said while there is no open socket is lost. */
  send(content) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(content));
  }

  /** The server has let us in: the next loss starts again with short delays. */
  welcomed() {
    clearTimeout(this.#timer);
    this.#failures = 0;
    this.#become("online");
  }

  /** Stop waiting and try at once. */
  retry() {
    if (this.#socket === null && !this.#over) this.#connect();
  }

  /** The other side does not answer: give this socket up and try again. */
  drop() {
    if (this.#socket !== null) this.#lose(this.#socket);
  }

  /** No more attempts. */
  close() {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#abandon();
  }

  #connect() {
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lose(socket), PATIENCE);
    socket.onopen = () => this.#on.open();
    socket.onmessage = (event) => this.#on.message(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (event.code >= 4400 && event.code < 4500) this.#refuse(event.reason);
      else this.#lose(socket);
    };
  }

  #lose(socket) {
    if (socket !== this.#socket) return;
    this.#abandon();
    // Doubling spares the server; chance keeps a thousand windows from returning at one instant.
    const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#failures) * (0.5 + Math.random() / 2);
    this.#failures += 1;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#become("offline");
  }

  #refuse(reason) {
    this.close();
    this.#become("refused");
    this.#on.refused(reason);
  }

  #abandon() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.#on.state(state);
  }
}
