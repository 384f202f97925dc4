/** A client for replicated counters in browsers, workers, Deno, and Node 22 or later. */

// No callback runs inside a call of the client. Callbacks may call it.

/** An integer. A bigint if it is beyond ±(2^53 - 1). */
export type Integer = number | bigint;

/** One region's share of a counter. */
export interface Region {
  value: Integer;
  /** Viewers of all counters in this region. */
  connected: number;
  nodes: number;
}

/** A counter as the program may show it. */
export interface View {
  counter: string;
  /**
   * The server's total plus the adds that this total cannot contain yet. It never exceeds the truth.
   * An add that the server's total may contain is added only once `repeated` is false. Undefined
   * until a server has answered.
   */
  total: Integer | undefined;
  /** The part of `total` that is not in the server's own total. */
  ahead: Integer;
  /** The sum of the sizes of all adds without an acknowledgement. */
  waiting: number;
  /** The part of `waiting` that `total` leaves out, because the server's total may contain it. */
  unseen: number;
  /** Empty until a server has answered. */
  regions: Record<string, Region>;
  /** The hash of the node's whole state. Nodes with equal hashes hold equal states. */
  hash: string | undefined;
  /** False while the node is still catching up with its cluster. */
  synced: boolean;
}

export interface Status {
  /** `waiting`: the link was lost, and the next try is scheduled. */
  state: "connecting" | "live" | "waiting" | "closed";
  /** `events`: server-sent events and POST, because no WebSocket opens. */
  transport?: "socket" | "events";
  /** The server's own words for a refusal. While `live`, for adds that it could not take yet. */
  why?: string;
}

/** An add that will not be counted. */
export interface Refusal {
  /** A code of the server, or `queue_full`: 1,000 adds wait already. */
  error: string;
  message: string;
  counter: string;
  amount: number;
  id?: string;
}

export interface Options {
  /** The counter to follow. Default: `clicks`. */
  counter?: string;
  /**
   * Several counters instead, 64 at most, on one socket. The first is the default of each call. An
   * older server that cannot watch several is followed by events, and gets adds by POST.
   */
  counters?: string[];
  /**
   * A storage that keeps unacknowledged adds through a reload, such as `localStorage`. Default:
   * memory alone. Tabs may share it: every client numbers its adds under a new id. The next client
   * takes over the adds of a closed tab, which it recognises by its free Web Lock. Without locks it
   * takes over adds that are three minutes old.
   */
  storage?: Pick<Storage, "length" | "key" | "getItem" | "setItem" | "removeItem">;
  /** The total of the first counter, if the program shows one already, for example in its HTML. */
  total?: Integer | string;
  /** The `token` of an earlier client. */
  token?: string;
  /** A counter changed, or one of its adds was made or answered. */
  onchange?(view: View): void;
  onstatus?(status: Status): void;
  onerror?(refusal: Refusal): void;
  /** The round trip of a ping in milliseconds: when a socket opens, and after 5 s of quiet. */
  onping?(ms: number): void;

  /** Stand-ins for the runtime's own. `WebSocket: null` asks for events and POST. */
  fetch?: typeof fetch;
  WebSocket?: typeof WebSocket | null;
  locks?: Pick<LockManager, "request"> | null;
  random?: () => number;
  clock?: {
    now?(): number;
    setTimeout(run: () => void, ms: number): unknown;
    clearTimeout(timer: unknown): void;
  };
}

export interface Client {
  /**
   * Adds an integer within ±1,000,000, but not 0. The client sends it until a server acknowledges
   * it, and it counts once. Adds of a counter that wait to be sent merge into one. Those of several
   * counters go in one message.
   *
   * Resolves to true once the add is acknowledged. Resolves to false if it was refused (see
   * `onerror`), or if the client was closed before the answer. Never rejects.
   *
   * @throws RangeError for any other amount, and for a 65th counter
   */
  add(amount?: number, counter?: string): Promise<boolean>;
  /**
   * Follows one more counter.
   *
   * @throws RangeError for a 65th
   */
  watch(counter: string): void;
  /** The total as `View` has it. */
  total(counter?: string): Integer | undefined;
  /**
   * Asks for a counter by HTTP. Any node shows at least what `token` has seen: earlier answers to
   * reads, and to adds by POST.
   *
   * @throws Error with the server's code as `error`, such as `behind`
   */
  read(counter?: string): Promise<{ total: Integer; regions: Record<string, Region> }>;
  /** The sum of the sizes of all adds without an acknowledgement. */
  readonly waiting: number;
  /** What this client has seen by HTTP (`Counter-Token`). Empty until the first answer. */
  readonly token: string;
  /** Milliseconds since the server was last heard from. Infinity before the first time. */
  readonly silence: number;
  /** Closes the link until `resume`, as for a hidden page. First sends waiting adds if it can. */
  pause(): void;
  /** Reopens the link at once if it is closed or silent, as after the computer slept. */
  resume(): void;
  /** Closes the link. Waiting adds stay in the storage for the next client. */
  close(): void;
}

/** Opens a client of the node at `url`, which may lie below a path of its site. */
export function connect(url: string | URL, options?: Options): Client;
