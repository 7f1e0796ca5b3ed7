/** "offline": it comes back by itself; "closed": it does not. */
export type State = "connecting" | "online" | "offline" | "closed";

/** Why the connection was lost: a WebSocket's close code and reason. */
export interface Loss {
  code?: number;
  reason?: string;
  /** The connection was open before. */
  opened?: boolean;
}

/** What the server, or the browser, has to say against what was asked. */
export interface Refusal {
  code: "refused" | "limit" | "malformed" | "subscribed" | "unavailable" | "url" | (string & {});
  detail: string;
  group?: string;
}

/** Keeps positions beyond the page: `sessionStorage`, `localStorage`, or what has these methods. */
export interface PositionStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export interface Options {
  /** Milliseconds: the bound of the first wait before coming back; it doubles up to `maxDelay`. */
  minDelay?: number;
  maxDelay?: number;
  /** Milliseconds that an attempt may take. */
  openTimeout?: number;
  /** Milliseconds without a word from the server after which it is asked whether it is there. */
  heartbeat?: number;
  /** Milliseconds in which it has to answer. */
  patience?: number;
  /** Milliseconds after which a connection counts as good, and waits are short again. */
  stable?: number;
  /** Messages of `send` that wait at most while there is no connection. */
  queue?: number;
  /** Where positions are kept, so that a reloaded page goes on where it was; null: nowhere. */
  storage?: PositionStorage | null;
  /** True for close codes after which there is no coming back. */
  isFinal?: (code: number) => boolean;
}

export type Presence = Record<string, unknown>;

export interface SubscribeOptions {
  /** The first time: "last:20" for the newest 20, or a position; nothing: from now on. */
  since?: string;
  /** What others see of us; the server decides what it takes. */
  presence?: Presence;
  /** Keep `members` up to date. */
  watch?: boolean;
  storage?: PositionStorage | null;
}

export interface PresenceChange {
  joins: Record<string, Presence>;
  leaves: Record<string, Presence>;
  /** Who joined, and whom of the former members that replaces. */
  replaces: Record<string, string>;
  /** Everybody, where the server told that. */
  state?: Record<string, Presence>;
}

export interface ClientEvents {
  state: (state: State, loss: Loss) => void;
  /** JSON of the application's own. */
  message: (content: any) => void;
  /** What was sent to this connection alone may be missing. */
  gap: () => void;
  error: (refusal: Refusal) => void;
}

export interface SubscriptionEvents {
  /** A message of the group, in order and once; `position` is null where nothing is kept. */
  message: (data: any, position: string | null) => void;
  /** Messages may be missing at this place. */
  gap: () => void;
  subscribed: (answer: { recovered: boolean; durable: boolean }) => void;
  presence: (members: Map<string, Presence>, change: PresenceChange) => void;
  error: (refusal: Refusal) => void;
}

export class FastChannels {
  constructor(url: string | URL | (() => string | URL | Promise<string | URL>), options?: Options);
  readonly state: State;
  on<T extends keyof ClientEvents>(type: T, listener: ClientEvents[T]): () => void;
  subscribe(name: string, options?: SubscribeOptions): Subscription;
  send(content: unknown): boolean;
  connect(): void;
  close(): void;
}

export class Subscription {
  private constructor();
  readonly name: string;
  readonly state: "waiting" | "subscribed" | "refused" | "over";
  readonly position: string | null;
  readonly members: Map<string, Presence>;
  readonly me: string | null;
  on<T extends keyof SubscriptionEvents>(type: T, listener: SubscriptionEvents[T]): () => void;
  setPresence(presence: Presence): void;
  unsubscribe(): void;
}
