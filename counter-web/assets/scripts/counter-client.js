// A client for replicated counters that needs no DOM. counter-client.d.ts documents its interface.
//
// Every add has an id and is sent again until a server acknowledges it. Servers apply an id once.
// A program sees the server's total plus the adds that this total cannot contain yet.

const WATCHED_MAX = 64; // counters of one client
const AMOUNT_MAX = 1_000_000; // of one add, either way
const QUEUE_MAX = 1_000; // adds without an acknowledgement
const WINDOW = 32; // adds in flight
const STREAMS_MAX = 4; // event streams: a browser opens only six connections to a host
const BLOCKED_MAX = 2; // failed sockets at a node that answers HTTP, before events are used

// All in milliseconds.
const WAIT_MIN = 100, WAIT_MAX = 10_000;
const FIRST_MAX = 2_600; // the longest first wait: spreads the clients of a node that died
const HURRY = 2_000; // a click reconnects at once, but not sooner than this after the last try
const RETRY = 1_000; // the shortest pause before an add that the node could not take is sent again
const ANSWER_MAX = 5_000, PING_EVERY = 5_000;
const QUIET_MAX = 45_000; // an event stream carries a comment every 15 s
const POLL_EVERY = 5_000; // for counters without a stream
const ALIVE = 180_000; // without locks, a queue younger than this may belong to an open tab

// The states of an add.
const FRESH = 0; // never sent: shown
const SENT = 1; // sent on this link only: shown
const APPLIED = 2; // shown as part of `settled` until the server's total contains it
const UNCERTAIN = 3; // sent on an earlier link: the server's total may contain it, so not shown

const REFUSALS = [400, 403, 429, 503]; // statuses with which a node refuses a page's socket

// Errors of the node or the link, not of the add.
const RETRIED = ["rate_limited", "not_durable", "not_ready", "stopping", "too_many_connections",
  "wrong_origin", "bad_token"];

const integer = (big) => (Number.isSafeInteger(Number(big)) ? Number(big) : big);
const sum = (adds) => adds.reduce((total, { amount }) => total + BigInt(amount), 0n);
const size = (adds) => adds.reduce((total, { amount }) => total + Math.abs(amount), 0);

// The adds without an acknowledgement. A queue keeps them in the storage under its own key, and
// holds the lock of that name while its page is open. Once the lock is free, the queue of another
// page takes the adds over.
function openQueue(prefix, client, { storage, locks, now }) {
  const adds = [], own = prefix + client;
  let last = 0, closed = false, release = () => {};

  function save() {
    const text = JSON.stringify({ at: now(), adds }, ["at", "adds", "id", "counter", "amount"]);
    try {
      if (adds.length) storage?.setItem(own, text);
      else storage?.removeItem(own);
    } catch { /* memory only */ }
  }

  function takeQueue(key, moved) {
    try {
      const left = JSON.parse(storage.getItem(key));
      if (closed || left.adds.length + adds.length > QUEUE_MAX) return;
      if (!locks && now() - left.at < ALIVE) return;
      adds.unshift(...left.adds.map((add) => ({ ...add, state: UNCERTAIN })));
      save();
      storage.removeItem(key);
    } catch { return; }
    moved();
  }

  return {
    adds,
    // Takes over the adds of closed pages. Calls `moved` each time some have come.
    takeOver(moved) {
      if (!storage) return;
      locks?.request(own, () => closed || new Promise((done) => { release = done; }));
      const keys = [];
      try {
        for (let at = 0; at < storage.length; at++) keys.push(storage.key(at));
      } catch { /* no storage here */ }
      for (const key of keys.filter((key) => key.startsWith(prefix))) {
        if (locks) locks.request(key, () => takeQueue(key, moved));
        else takeQueue(key, moved);
      }
    },
    // Enlarges an add that was never sent, or makes a new one. Undefined if the queue is full.
    // Without locks another page may have sent a waiting add, so none is enlarged.
    push(counter, amount) {
      const same = (add) => add.counter === counter && add.state === FRESH;
      let add = locks || !storage ? adds.find(same) : undefined;
      const joined = add && add.amount + amount;
      if (joined && Math.abs(joined) <= AMOUNT_MAX) {
        add.amount = joined;
      } else {
        if (adds.length >= QUEUE_MAX) return undefined;
        add = { id: `${client}:${++last}`, counter, amount, state: FRESH };
        add.done = new Promise((resolve) => { add.resolve = resolve; });
        adds.push(add);
      }
      save();
      return add.done;
    },
    remove(add, isDone) {
      adds.splice(adds.indexOf(add), 1);
      save();
      add.resolve?.(isDone);
    },
    close() {
      closed = true;
      release();
      for (const { resolve } of adds) resolve?.(false);
    },
  };
}

// A link by WebSocket.
function openSocket({ WebSocket, socketAddress, batches, names, heard, lost, now }) {
  const [first] = names();
  const socket = new WebSocket(socketAddress.replace(/^http/, "ws"));
  const say = (message) => socket.send(JSON.stringify(message));
  const watch = () => {
    if (socket.readyState === 1 && names().length > 1) say({ type: "watch", counters: names() });
  };
  socket.onopen = watch;
  socket.onmessage = ({ data }) => heard(JSON.parse(data));
  socket.onclose = () => lost();
  return {
    send(adds) {
      if (adds.length > 1 && !batches) return adds.forEach((add) => this.send([add]));
      const [{ id, counter, amount }] = adds;
      if (adds.length === 1 && counter === first) return say({ type: "add", amount, id });
      say({ type: "adds", adds: adds.map(({ counter, amount, id }) => ({ counter, amount, id })) });
    },
    watch,
    ping: () => say({ type: "ping", t: now() }),
    close: () => socket.close(),
  };
}

// A link by server-sent events, and by POST for one add at a time. If no event follows an add
// within ANSWER_MAX, the streams are dead and are opened again.
function openEvents({ fetch, address, ask, clock, page, names, heard, lost }) {
  const streams = new Map(); // counter -> the controller of its request
  const adds = [], polled = [];
  let posting = false, closed = false, pollTimer, dueTimer;

  function arrived() {
    clock.clearTimeout(dueTimer);
    dueTimer = undefined;
  }

  async function follow(name) {
    const own = new AbortController();
    streams.get(name)?.abort();
    streams.set(name, own);
    try {
      const answer = await fetch(address(name, `/events?page=${page}`), { signal: own.signal });
      if (!answer.ok) return lost((await answer.json()).message);
      const reader = answer.body.getReader(), decoder = new TextDecoder();
      let text = "";
      for (let piece; !(piece = await reader.read()).done;) {
        arrived();
        heard();
        const lines = (text + decoder.decode(piece.value, { stream: true })).split("\n");
        text = lines.pop();
        for (const line of lines) {
          if (line.startsWith("data:")) heard({ ...JSON.parse(line.slice(5)), counter: name });
        }
      }
    } catch { /* the stream broke */ }
    if (streams.get(name) === own) lost();
  }

  function renew() {
    arrived();
    [...streams.keys()].forEach(follow);
  }

  async function poll() {
    for (const name of polled) {
      const answer = await ask(name);
      if ("total" in answer) heard({ ...answer, type: "state", counter: name });
    }
    if (!closed) pollTimer = clock.setTimeout(poll, POLL_EVERY);
  }

  async function post() {
    posting = true;
    for (let add; !closed && (add = adds.shift());) {
      const { id, counter, amount } = add;
      const headers = { "content-type": "application/json", "idempotency-key": id };
      const body = JSON.stringify({ amount });
      if (!polled.includes(counter)) dueTimer ??= clock.setTimeout(renew, ANSWER_MAX);
      const answer = await ask(counter, "/add", { method: "POST", headers, body, keepalive: true });
      if (answer.error) arrived();
      if (answer.error) heard({ ...answer, type: "error", id });
      else if (answer.id === id) heard({ type: "ack", id });
      else return lost();
    }
    posting = false;
  }

  const watch = (name) => {
    if (streams.size < STREAMS_MAX) follow(name);
    else if (polled.push(name) === 1) poll();
  };
  names().forEach(watch);
  return {
    send(more) {
      adds.push(...more);
      if (!posting) post();
    },
    watch,
    close() {
      closed = true;
      for (const stream of streams.values()) stream.abort();
      arrived();
      clock.clearTimeout(pollTimer);
    },
  };
}

export function connect(url, options = {}) {
  const { storage, random = Math.random, onchange, onerror, onstatus, onping } = options;
  const { fetch = globalThis.fetch, WebSocket = globalThis.WebSocket } = options;
  const { locks = globalThis.navigator?.locks, clock = globalThis } = options;
  const now = clock.now ?? Date.now;
  const base = new URL(String(url).replace(/\/*$/, "/"), globalThis.location?.href);
  const digit = () => Math.floor(random() * 36).toString(36);
  const newId = () => Array.from({ length: 16 }, digit).join("");
  const page = newId(); // one viewer, however often it connects

  // name -> {name, total, settled, ahead, regions, hash, synced, link, isTold}
  const counters = new Map();
  const names = () => [...counters.keys()];
  const first = options.counters?.[0] ?? options.counter ?? "clicks";
  const query = new URLSearchParams({ counter: first, page });
  const socketAddress = new URL(`ws?${query}`, base).href;
  const queue = openQueue(`counter ${base.href} `, newId(), { storage, locks, now });
  let token = options.token ?? "", closed = false, paused = false;

  // ---- counters ----

  function watch(name) {
    if (counters.has(name)) return;
    if (counters.size >= WATCHED_MAX) throw new RangeError(`over ${WATCHED_MAX} counters`);
    counters.set(name, { name, settled: 0n, ahead: true, regions: {}, synced: false });
    link?.watch(name);
  }

  const addsOf = (name) => queue.adds.filter(({ counter }) => counter === name);

  function view({ name, total, settled, ahead, regions, hash, synced }) {
    const adds = addsOf(name);
    const shown = adds.filter(({ state }) => ahead && (state === FRESH || state === SENT));
    const unseen = adds.filter((add) => add.state !== APPLIED && !shown.includes(add));
    const more = settled + sum(shown);
    if (total !== undefined) total = integer(total + more);
    return {
      counter: name, total, ahead: integer(more), waiting: size(adds), unseen: size(unseen),
      regions: { ...regions }, hash, synced,
    };
  }

  // Callbacks run after the current call of this client, so they may call it.
  const call = (callback, news) => { if (callback) queueMicrotask(() => callback(news)); };
  function tell(counter) {
    if (!onchange || counter.isTold) return;
    counter.isTold = true;
    queueMicrotask(() => {
      counter.isTold = false;
      onchange(view(counter));
    });
  }

  // The server's total contains every add that it has answered.
  function take({ type, counter: name = first, total, regions, state_hash, synced }) {
    const counter = counters.get(name);
    if (!counter) return;
    Object.assign(counter, { total: BigInt(total), settled: 0n, synced: synced ?? counter.synced });
    counter.hash = state_hash ?? counter.hash;
    if (type === "state") counter.regions = {};
    for (const [code, region] of Object.entries(regions)) {
      counter.regions[code] = { ...region, value: integer(BigInt(region.value)) };
    }
    if (counter.link !== link) {
      // With events, a total may contain an add whose POST is unanswered. So none is shown ahead.
      Object.assign(counter, { link, ahead: !link.listening });
      for (const add of addsOf(name)) if (add.state !== FRESH) add.state = UNCERTAIN;
      if (!link.opened) {
        link.opened = true;
        if (!link.listening) blocked = 0;
        status("live");
        if (onping) link.ping?.();
      }
      flush();
    }
    tell(counter);
  }

  // ---- adds ----

  function flush() {
    const batch = queue.adds.slice(0, WINDOW).filter((add) =>
      link && add.link !== link && counters.get(add.counter)?.link === link);
    for (const add of batch) {
      Object.assign(add, { link, batch });
      if (add.state === FRESH) add.state = SENT;
    }
    if (!batch.length) return;
    link.send(batch);
    expect();
  }

  // The queue has taken over adds of a closed page.
  function moved() {
    for (const { counter } of queue.adds) if (counters.size < WATCHED_MAX) watch(counter);
    flush();
    for (const counter of counters.values()) tell(counter);
  }

  function answered({ type, id, repeated, error, message, index }) {
    const add = queue.adds.find((add) => add.id === id), counter = counters.get(add?.counter);
    if (!add) return;
    // With an index, nothing of the batch was applied.
    const refused = index === undefined ? [add] : add.batch;
    const again = () => {
      for (const add of refused) add.link = null;
      flush();
    };
    if (error === "wrong_origin" && link.listening) return drop(message);
    if (RETRIED.includes(error)) {
      if (message) status("live", message);
      clock.setTimeout(() => {
        if (link?.opened) status("live");
        again();
      }, RETRY * (1 + random()));
      return;
    }
    if (repeated === false && add.state !== APPLIED) {
      add.state = APPLIED;
      counter.settled += BigInt(add.amount);
    }
    if (type !== "applied") {
      const isDone = !error || error === "cannot_tell", { amount } = add;
      if (!isDone) call(onerror, { error, message, id, counter: counter.name, amount });
      queue.remove(add, isDone);
    }
    if (error) again();
    else flush();
    tell(counter);
  }

  function add(amount = 1, name = first) {
    if (closed) throw new Error("this client is closed");
    if (!Number.isInteger(amount) || !amount || Math.abs(amount) > AMOUNT_MAX) {
      throw new RangeError(`an amount is an integer within ±${AMOUNT_MAX}, and not 0`);
    }
    watch(name);
    const done = queue.push(name, amount);
    if (!done) {
      const message = `${QUEUE_MAX} adds wait for an answer`;
      call(onerror, { error: "queue_full", message, counter: name, amount });
      return Promise.resolve(false);
    }
    queueMicrotask(flush); // adds of one turn go together
    hurry();
    tell(counters.get(name));
    return done;
  }

  // ---- the link ----

  let link = null; // {listening, opened}, and the functions of its transport
  let batches = true; // until a server knows none
  let plain = !WebSocket; // true: use events, because the runtime or the server cannot do more
  let attempts = 0, blocked = 0, triedAt = -Infinity, retryAt, retryTimer, timer, said;
  let heardAt = -Infinity, isAsked = false;

  function status(state, why) {
    const transport = link && { transport: link.listening ? "events" : "socket" };
    const news = { state, ...transport, ...(why && { why }) };
    if (said !== (said = JSON.stringify(news))) call(onstatus, news);
  }

  function start(listening) {
    if (closed || paused || link) return;
    clock.clearTimeout(retryTimer);
    triedAt = now();
    const mine = (link = { listening, watch() {}, close() {} });
    status("connecting");
    within(ANSWER_MAX, drop);
    const heard = (message) => {
      if (mine !== link) return;
      [heardAt, isAsked] = [now(), false];
      if (listening) within(QUIET_MAX, drop);
      else within(PING_EVERY, () => { link.ping(); expect(); });
      if (message) hear(message);
    };
    const lost = (why) => { if (mine === link) drop(why); };
    const given = {
      WebSocket, socketAddress, fetch, clock, address, ask, page, batches, names, heard, lost, now,
    };
    try {
      Object.assign(mine, listening ? openEvents(given) : openSocket(given));
    } catch { lost(); }
  }

  function within(ms, run) {
    clock.clearTimeout(timer);
    timer = clock.setTimeout(() => run(), ms);
  }

  // The node answers each add and each ping, so a socket that stays silent is dead.
  function expect() {
    if (link.listening || isAsked) return;
    isAsked = true;
    within(ANSWER_MAX, drop);
  }

  function hear(message) {
    if (message.type === "state" || message.type === "change") take(message);
    else if (message.type === "pong") call(onping, now() - message.t);
    else if (message.id) answered(message);
    else if (message.type === "error" && (batches || counters.size > 1)) {
      // This server takes one add in a message, and follows one counter on a socket.
      plain ||= counters.size > 1;
      batches = false;
      drop();
      retryIn(0);
    }
  }

  function drop(why) {
    const old = link;
    link = null;
    clock.clearTimeout(timer);
    isAsked = false;
    old?.close();
    if (!old || closed || paused) return;
    if (old.opened && now() - triedAt > WAIT_MAX) attempts = 0;
    const longest = Math.min(WAIT_MAX, FIRST_MAX * 2 ** attempts++);
    retryIn(WAIT_MIN + random() * (longest - WAIT_MIN));
    status("waiting", why);
    if (!old.opened && !old.listening) askWhy();
  }

  function retryIn(ms) {
    clock.clearTimeout(retryTimer);
    retryAt = now() + ms;
    retryTimer = clock.setTimeout(() => start(plain), ms);
  }

  function hurry() {
    const at = Math.max(now(), triedAt + HURRY);
    if (!link && !closed && !paused && at < retryAt) retryIn(at - now());
  }

  function pause() {
    flush();
    paused = true;
    drop();
    clock.clearTimeout(retryTimer);
    status("waiting");
  }

  function resume() {
    paused = false;
    attempts = 0;
    if (link && now() - heardAt > 2 * PING_EVERY) drop();
    if (!link) start(plain);
  }

  const lose = () => drop();

  // A failed socket gives no reason, but an HTTP request to the same node does. A page's own node
  // answers OPTIONS as it would have answered the socket. A page of another site may only read.
  async function askWhy() {
    const isOwn = base.origin === globalThis.location?.origin;
    const answer = await (isOwn ? request(socketAddress, { method: "OPTIONS" }) : ask(first));
    if (link || closed) return;
    const { code, total, error, message } = answer;
    const isRefused = message && error !== "stopping" && (!isOwn || REFUSALS.includes(code));
    if (isRefused) status("waiting", message);
    else if (isOwn ? code && code < 500 : total !== undefined) {
      start(plain || ++blocked >= BLOCKED_MAX);
    }
  }

  // ---- HTTP ----

  const address = (name, path) =>
    new URL(`api/counters/${encodeURIComponent(name)}${path}`, base).href;

  // Resolves to the JSON of the answer, with its status as `code`. {} if there was no answer.
  async function request(href, request) {
    const abort = new AbortController();
    const late = clock.setTimeout(() => abort.abort(), ANSWER_MAX);
    const headers = { ...request.headers, "counter-token": token };
    try {
      const answer = await fetch(href, { ...request, headers, signal: abort.signal });
      const body = await answer.json().catch(() => ({}));
      token = body.error === "bad_token" ? "" : answer.headers.get("counter-token") ?? token;
      return { ...body, code: answer.status };
    } catch {
      return {};
    } finally { clock.clearTimeout(late); }
  }

  const ask = (name, path = "", given = {}) => request(address(name, path), given);

  async function read(name = first) {
    const { total, regions, error, message = "no answer" } = await ask(name);
    if (total === undefined) throw Object.assign(new Error(message), { error });
    return { total: integer(BigInt(total)), regions };
  }

  function close() {
    if (closed) return;
    flush();
    closed = true;
    drop();
    clock.clearTimeout(retryTimer);
    globalThis.removeEventListener?.("online", hurry);
    globalThis.removeEventListener?.("offline", lose);
    queue.close();
    status("closed");
  }

  [first, ...(options.counters ?? [])].forEach(watch);
  if (options.total !== undefined) counters.get(first).total = BigInt(options.total);
  queue.takeOver(moved);
  globalThis.addEventListener?.("online", hurry);
  globalThis.addEventListener?.("offline", lose);
  start(plain);

  return {
    add, watch, read, pause, resume, close,
    total: (name = first) => counters.has(name) ? view(counters.get(name)).total : undefined,
    get waiting() { return size(queue.adds); },
    get token() { return token; },
    get silence() { return now() - heardAt; },
  };
}
