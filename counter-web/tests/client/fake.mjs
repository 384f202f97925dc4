// A server, a clock, a storage and locks that live in memory. Tests decide what happens and when.

// Runs every callback that is ready. A response stream needs more than one turn of the event loop.
export const settle = async () => {
  for (let turn = 0; turn < 12; turn++) await new Promise((done) => setImmediate(done));
};

export class Clock {
  time = 0;
  timers = new Map();
  next = 1;

  now = () => this.time;
  setTimeout = (run, ms = 0) => {
    this.timers.set(this.next, { at: this.time + Math.max(0, ms), run });
    return this.next++;
  };
  clearTimeout = (timer) => this.timers.delete(timer);

  async advance(ms) {
    const end = this.time + ms;
    for (;;) {
      await settle();
      const due = [...this.timers].filter(([, { at }]) => at <= end);
      if (!due.length) break;
      const [timer, { at, run }] = due.reduce((a, b) => (b[1].at < a[1].at ? b : a));
      this.timers.delete(timer);
      this.time = at;
      run();
    }
    this.time = end;
  }
}

// Pseudo-random numbers in [0, 1): mulberry32.
export const seeded = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

export class MemoryStorage {
  #items = new Map();
  full = false;

  get length() { return this.#items.size; }
  key(index) { return [...this.#items.keys()][index] ?? null; }
  getItem(key) { return this.#items.get(key) ?? null; }
  setItem(key, value) {
    if (this.full) throw new Error("the quota is exceeded");
    this.#items.set(key, String(value));
  }
  removeItem(key) { this.#items.delete(key); }
  copy() {
    const copy = new MemoryStorage();
    for (const [key, value] of this.#items) copy.setItem(key, value);
    return copy;
  }
}

// Exclusive locks, granted in the order of the requests.
export class Locks {
  held = new Map();

  of(owner) {
    return {
      request: (name, run) => {
        const turn = (this.held.get(name) ?? Promise.resolve()).then(() => {
          if (owner.dead) return undefined;
          return Promise.race([run({ name }), owner.death]);
        });
        this.held.set(name, turn);
        return turn;
      },
    };
  }
}

// A page that holds locks. `crash` ends it without a release.
export function owner() {
  const self = { dead: false };
  self.death = new Promise((done) => {
    self.crash = () => { self.dead = true; done(); };
  });
  return self;
}

const number = (total) => (Number.isSafeInteger(Number(total)) ? Number(total) : String(total));

// One node of the cluster, with its faults as switches.
export class Server {
  totals = new Map();
  applied = new Map(); // id -> amount
  sockets = new Set();
  streams = new Set(); // of server-sent events
  heard = []; // every message and request of every client
  tries = []; // when a socket was asked for

  isUp = true;
  opensSockets = true;
  failures = 0; // of the next sockets
  knowsWatch = true;
  applies = true; // false: an add is lost on its way, and the link with it
  answers = true; // false: an add is applied, and its answer and all that follows is lost
  showsChanges = true;
  answersPings = true;
  isDurable = false; // true: acks wait for `store`
  refusal = null; // the error code of every add
  refused = new Set(); // counters that may not be made
  unstored = [];

  constructor(clock) {
    this.clock = clock;
    const server = this;
    this.WebSocket = class {
      readyState = 0;
      isNaming = false; // changes name their counter, from the first watch on
      isCut = false; // nothing that the server says arrives any more
      constructor(url) {
        this.url = new URL(url);
        this.watched = new Set([this.url.searchParams.get("counter")]);
        server.tries.push(clock.now());
        queueMicrotask(() => server.accept(this));
      }
      send(text) {
        if (this.readyState === 0) throw new Error("the socket is not open yet");
        const message = JSON.parse(text);
        queueMicrotask(() => server.hear(this, message));
      }
      close() { server.cut(this); }
      say(message) {
        if (this.isCut) return;
        queueMicrotask(() => {
          if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(message) });
        });
      }
    };
    this.fetch = (url, init = {}) => this.request(new URL(url), init);
  }

  total(name) { return this.totals.get(name) ?? 0n; }

  state(name) {
    const total = number(this.total(name));
    const regions = { ord: { value: total, connected: 1, nodes: 1 } };
    return { type: "state", counter: name, total, regions, region: "ord", synced: true };
  }

  accept(socket) {
    if (socket.readyState !== 0) return;
    if (!this.isUp || !this.opensSockets) return this.cut(socket);
    if (this.failures) {
      this.failures--;
      return this.cut(socket);
    }
    socket.readyState = 1;
    this.sockets.add(socket);
    socket.onopen?.({});
    for (const name of socket.watched) socket.say(this.state(name));
  }

  cut(socket) {
    if (socket.readyState === 3) return;
    socket.readyState = 3;
    this.sockets.delete(socket);
    queueMicrotask(() => socket.onclose?.({ code: 1006 }));
  }

  cutAll() {
    for (const socket of this.sockets) this.cut(socket);
    for (const stream of this.streams) stream.end();
  }

  stop() { this.isUp = false; this.cutAll(); }

  hear(socket, message) {
    if (!this.sockets.has(socket)) return;
    this.heard.push(message);
    switch (message.type) {
      case "ping":
        if (this.answersPings) socket.say({ type: "pong", t: message.t });
        return;
      case "add":
        return this.take(socket, { counter: socket.url.searchParams.get("counter"), ...message });
      case "watch":
      case "adds":
        if (!this.knowsWatch) {
          return socket.say({ type: "error", error: "bad_message", message: "send an add" });
        }
        if (message.type === "adds") return this.takeBatch(socket, message.adds);
        return this.watch(socket, message.counters);
    }
  }

  // The list replaces the last one. The socket's own counter stays, and only new ones send a state.
  watch(socket, counters) {
    if (counters.length > 64 || new Set(counters).size < counters.length) {
      return socket.say({ type: "error", error: "too_large", message: "64 counters, each once" });
    }
    const watched = new Set([socket.url.searchParams.get("counter"), ...counters]);
    const fresh = [...watched].filter((name) => !socket.watched.has(name));
    socket.watched = watched;
    socket.isNaming = true;
    for (const name of fresh) socket.say(this.state(name));
  }

  // Applies one add. Returns its answer.
  apply({ id, amount, counter }) {
    if (this.refused.has(counter)) {
      return { type: "error", id, error: "name_not_allowed", message: "no such counter" };
    }
    if (this.refusal) return { type: "error", id, error: this.refusal, message: "not now" };
    const repeated = this.applied.has(id);
    if (!repeated) {
      this.applied.set(id, amount);
      this.totals.set(counter, this.total(counter) + BigInt(amount));
    }
    return { type: "ack", id, repeated };
  }

  // All or nothing: a refusal names the first bad add.
  takeBatch(socket, adds) {
    const index = this.refusal ? 0 : adds.findIndex(({ counter }) => this.refused.has(counter));
    if (index < 0) return adds.forEach((add) => this.take(socket, add));
    const error = this.refusal ?? "name_not_allowed";
    socket.say({ type: "error", id: adds[index].id, index, error, message: "not this batch" });
  }

  take(socket, add) {
    if (!this.applies) {
      socket.isCut = true;
      return;
    }
    const answer = this.apply(add);
    if (!this.answers) socket.isCut = true;
    if (this.isDurable && answer.type === "ack") {
      if (!answer.repeated) socket.say({ ...answer, type: "applied" });
      this.unstored.push({ socket, answer });
    } else {
      socket.say(answer);
    }
    if (answer.repeated === false && this.showsChanges) this.show(add.counter);
  }

  // Everything that was applied is on the disk now; `order` picks which ack comes first.
  store(order = (acks) => acks) {
    for (const { socket, answer } of order(this.unstored.splice(0))) socket.say(answer);
  }

  // Another client's add.
  add(counter, amount) {
    this.totals.set(counter, this.total(counter) + BigInt(amount));
    this.show(counter);
  }

  show(name) {
    const { regions, total } = this.state(name);
    for (const socket of this.sockets) {
      const counter = socket.isNaming ? { counter: name } : {};
      if (socket.watched.has(name)) socket.say({ type: "change", ...counter, total, regions });
    }
    for (const stream of this.streams) {
      if (stream.name === name) stream.say({ type: "change", total, regions });
    }
  }

  async request(url, { method = "GET", headers = {}, body, signal } = {}) {
    await null;
    if (!this.isUp) throw new TypeError("fetch failed");
    const [, , , encoded, path] = url.pathname.split("/");
    const name = decodeURIComponent(encoded);
    const given = body && JSON.parse(body);
    this.heard.push({ type: method, path: path ?? "", counter: name, headers, body: given });
    if (path === "events") return this.listen(name, signal);
    if (path !== "add") return this.json(200, { name, ...this.state(name) });
    if (!this.applies) throw new TypeError("fetch failed");
    const id = headers["idempotency-key"];
    const answer = this.apply({ id, amount: given.amount, counter: name });
    if (answer.repeated === false && this.showsChanges) this.show(name);
    if (!this.answers) throw new TypeError("fetch failed");
    if (answer.error) return this.json(answer.error === "cannot_tell" ? 409 : 503, answer);
    return this.json(200, { total: number(this.total(name)), region: "ord", value: 0, id });
  }

  json(status, body) {
    const headers = { "counter-token": `seen-${this.heard.length}` };
    return Response.json(body, { status, headers });
  }

  listen(name, signal) {
    let controller;
    const text = new TextEncoder();
    const stream = {
      name,
      say: (message) => controller.enqueue(text.encode(`data:  ${JSON.stringify(message)}\n\n`)),
      comment: () => controller.enqueue(text.encode(":\n\n")),
      end: () => { if (this.streams.delete(stream)) controller.close(); },
    };
    const body = new ReadableStream({ start: (given) => { controller = given; } });
    signal?.addEventListener("abort", () => {
      if (this.streams.delete(stream)) controller.error(new DOMException("aborted", "AbortError"));
    });
    this.streams.add(stream);
    stream.say(this.state(name));
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  }

  adds() {
    return this.heard.flatMap((message) => {
      if (message.type === "add") return [message];
      if (message.type === "adds") return message.adds;
      if (message.path === "add") {
        return [{ id: message.headers["idempotency-key"], ...message.body }];
      }
      return [];
    });
  }
}
