// The link: back-off, silence, many counters, and life without WebSocket.
import assert from "node:assert/strict";
import { test } from "node:test";
import { world } from "./setup.mjs";

test("waits grow, stay under 10 s, and are spread", async () => {
  const waits = async (random) => {
    const { clock, server, open } = world();
    server.isUp = false;
    open({ random });
    await clock.advance(60_000);
    return server.tries.slice(1).map((at, index) => at - server.tries[index]);
  };
  const longest = await waits(() => 1 - 2 ** -30);
  assert.deepEqual(longest.slice(0, 5).map(Math.round), [2600, 5200, 10_000, 10_000, 10_000]);
  const shortest = await waits(() => 0);
  assert.ok(shortest.every((wait) => wait === 100));
});

test("a link that lasted makes the next wait short again", async () => {
  const { clock, server, open } = world();
  server.isUp = false;
  open({ random: () => 1 - 2 ** -30 });
  await clock.advance(60_000);
  server.isUp = true;
  await clock.advance(30_000);
  server.cutAll();
  const cutAt = clock.time;
  await clock.advance(20_000);
  assert.ok(server.tries.at(-1) - cutAt <= 2_600);
});

test("a click hurries the next try", async () => {
  const { clock, server, open } = world();
  server.isUp = false;
  const { client } = open({ random: () => 1 - 2 ** -30 });
  await clock.advance(30_000);
  server.isUp = true;
  const clickedAt = clock.time;
  const done = client.add(1);
  await clock.advance(2_100);
  assert.equal(await done, true);
  assert.ok(server.tries.at(-1) - clickedAt <= 2_000);
});

test("a silent link is replaced", async () => {
  const { clock, server, open } = world();
  open();
  await clock.advance(60_000);
  assert.equal(server.tries.length, 1, "pongs keep a quiet link");
  server.answersPings = false;
  await clock.advance(40_000);
  assert.ok(server.tries.length > 1);
});

test("a link that swallows an add is replaced", async () => {
  const { clock, server, open, settle } = world();
  const { client } = open();
  await settle();
  server.applies = false;
  const done = client.add(1);
  await clock.advance(15_001);
  server.applies = true;
  await clock.advance(20_000);
  assert.equal(await done, true);
  assert.ok(server.tries.length >= 2);
});

test("64 counters share one socket", async () => {
  const { server, open, settle } = world();
  const counters = Array.from({ length: 64 }, (_, number) => `c${number}`);
  const { client, changes, shown } = open({ counters });
  await settle();
  assert.equal(server.tries.length, 1);
  for (const name of counters) assert.equal(shown(name), 0);
  server.add("c63", 7);
  await settle();
  assert.equal(shown("c63"), 7);
  assert.equal(changes.at(-1).counter, "c63");
  assert.equal(await client.add(2, "c5"), true);
  assert.equal(server.total("c5"), 2n);
  assert.equal(shown("c0"), 0);
  assert.throws(() => client.watch("one-more"), RangeError);
});

test("a counter may be watched later", async () => {
  const { clock, server, open, settle } = world();
  const { client, shown } = open();
  await settle();
  server.add("likes", 3);
  client.watch("likes");
  await settle();
  assert.equal(shown("likes"), 3);
  assert.equal(await client.add(1, "stars"), true, "an add watches its counter");
  server.cutAll();
  await clock.advance(20_000);
  assert.equal(shown("stars"), 1);
  assert.equal(server.tries.length, 2);
});

test("each watch names all counters, and adds to several go in one message", async () => {
  const { server, open, settle } = world();
  const { client, states, shown } = open({ counters: ["a", "b"] });
  await settle();
  client.watch("c");
  await settle();
  const watches = server.heard.filter(({ type }) => type === "watch");
  assert.deepEqual(watches.map(({ counters }) => counters), [["a", "b"], ["a", "b", "c"]]);
  const done = ["a", "b", "c"].map((name, at) => client.add(at + 1, name));
  assert.deepEqual(await Promise.all(done), [true, true, true]);
  assert.deepEqual(server.heard.filter(({ type }) => type === "adds").length, 1);
  assert.deepEqual(["a", "b", "c"].map(shown), [1, 2, 3]);
  for (const name of ["a", "b", "c"]) server.add(name, 10);
  await settle();
  assert.deepEqual(["a", "b", "c"].map(shown), [11, 12, 13]);
  assert.deepEqual(states.at(-1), { state: "live", transport: "socket" });
  assert.equal(server.streams.size, 0);
  assert.equal(server.tries.length, 1);
});

test("a server that cannot watch several counters is followed by events", async () => {
  const { clock, server, open } = world();
  server.knowsWatch = false;
  const { client, shown, states } = open({ counters: ["a", "b"] });
  await clock.advance(10_000);
  server.add("b", 4);
  const done = client.add(2, "b");
  await clock.advance(1_000);
  assert.equal(await done, true);
  assert.equal(shown("b"), 6);
  assert.equal(states.at(-1).transport, "events");
});

test("events and POST replace a socket that does not open", async () => {
  const { clock, server, open } = world();
  server.opensSockets = false;
  const { client, shown, states, changes } = open();
  await clock.advance(10_000);
  assert.deepEqual(states.at(-1), { state: "live", transport: "events" });
  assert.equal(server.tries.length, 2, "a socket is tried twice");
  const done = client.add(3);
  assert.equal(shown(), 0, "the number may hold the add before its answer comes");
  await clock.advance(1_000);
  assert.equal(await done, true);
  assert.equal(shown(), 3);
  server.add("clicks", 4);
  await clock.advance(1_000);
  assert.equal(shown(), 7);
  assert.ok(changes.every(({ total }) => total <= 7));
});

test("a runtime without WebSocket uses events at once", async () => {
  const { server, open, settle } = world();
  const { client, shown } = open({ WebSocket: null });
  await settle();
  client.add(1);
  await settle();
  assert.equal(shown(), 1);
  assert.equal(server.tries.length, 0);
});

test("a POST that was applied and not answered counts once", async () => {
  const { clock, server, open, settle } = world();
  const { client, changes, shown } = open({ WebSocket: null });
  await settle();
  server.answers = false;
  const done = client.add(3);
  await settle();
  server.answers = true;
  await clock.advance(30_000);
  assert.equal(await done, true);
  assert.equal(server.total("clicks"), 3n);
  assert.equal(shown(), 3);
  assert.ok(changes.every(({ total }) => total <= 3));
});

test("a node that is down is not taken for one without WebSocket", async () => {
  const { clock, server, open } = world();
  server.isUp = false;
  const { states } = open();
  await clock.advance(60_000);
  server.isUp = true;
  await clock.advance(20_000);
  assert.deepEqual(states.at(-1), { state: "live", transport: "socket" });
});

test("a lost event stream is opened again", async () => {
  const { clock, server, open, settle } = world();
  const { shown } = open({ WebSocket: null });
  await settle();
  server.cutAll();
  server.add("clicks", 5);
  await clock.advance(20_000);
  assert.equal(shown(), 5);
});

test("a silent event stream is opened again", async () => {
  const { clock, server, open, settle } = world();
  open({ WebSocket: null });
  await settle();
  const opened = () => server.heard.filter(({ path }) => path === "events").length;
  for (let comment = 0; comment < 8; comment++) {
    await clock.advance(15_000);
    for (const stream of server.streams) stream.comment();
  }
  assert.equal(opened(), 1, "comments keep a quiet stream");
  await clock.advance(60_000);
  assert.ok(opened() > 1);
});

test("events of many counters leave connections for POST", async () => {
  const { clock, server, open, settle } = world();
  const { client, shown } = open({ WebSocket: null, counters: ["a", "b", "c", "d", "e", "f"] });
  await settle();
  assert.equal(server.streams.size, 4);
  server.totals.set("f", 9n);
  await clock.advance(6_000);
  assert.equal(shown("f"), 9);
  assert.equal(await client.add(1, "f"), true);
  await clock.advance(6_000);
  assert.equal(shown("f"), 10);
});

test("the token of each answer goes with the next request", async () => {
  const { server, open, settle } = world();
  const { client } = open({ WebSocket: null, token: "" });
  await settle();
  await client.add(1);
  const first = client.token;
  assert.match(first, /^seen-/);
  assert.equal((await client.read("likes")).total, 0);
  assert.equal(server.heard.at(-1).headers["counter-token"], first);
  assert.notEqual(client.token, first);
});

test("a refusal is reported in the server's words", async () => {
  const { clock, server, open } = world();
  server.opensSockets = false;
  const refuse = async () =>
    Response.json({ error: "wrong_origin", message: "allow this site" }, { status: 400 });
  const { states } = open({ fetch: refuse });
  await clock.advance(10_000);
  assert.equal(states.at(-1).state, "waiting");
  assert.equal(states.filter(({ why }) => why).at(-1).why, "allow this site");
  server.opensSockets = true;
  await clock.advance(20_000);
  assert.deepEqual(states.at(-1), { state: "live", transport: "socket" });
});

test("a path and a trailing slash of the address are kept", async () => {
  const { server, open, settle } = world();
  const urls = [];
  class Recording extends server.WebSocket {
    constructor(url) {
      super(url);
      urls.push(this.url);
    }
  }
  const { connect } = await import("../../assets/scripts/counter-client.js");
  for (const url of ["https://host.test/below/", "https://host.test/below"]) {
    const client = connect(url, { counter: "a b", WebSocket: Recording, fetch: server.fetch });
    await settle();
    client.close();
  }
  open().client.close();
  for (const url of urls) {
    assert.equal(url.protocol + url.host + url.pathname, "wss:host.test/below/ws");
    assert.equal(url.searchParams.get("counter"), "a b");
  }
});

test("sockets that failed long ago do not count towards events", async () => {
  const { clock, server, open } = world();
  const { states } = open();
  for (let failure = 0; failure < 4; failure++) {
    server.failures = 1;
    server.cutAll();
    await clock.advance(30_000);
    assert.deepEqual(states.at(-1), { state: "live", transport: "socket" }, `failure ${failure}`);
  }
});

test("a message of a replaced link is ignored", async () => {
  const { clock, server, open, settle } = world();
  const { self, shown, states } = open();
  await settle();
  const { onmessage, onclose } = self.socket;
  server.cutAll();
  await clock.advance(10_000);
  server.add("clicks", 8);
  await settle();
  onmessage({ data: JSON.stringify(server.state("other")).replace("other", "clicks") });
  onclose({});
  await settle();
  assert.equal(shown(), 8);
  assert.equal(states.at(-1).state, "live");
});

test("a POST refused by the node is sent again", async () => {
  for (const error of ["rate_limited", "stopping", "too_many_connections", "bad_token"]) {
    const { clock, server, open, settle } = world();
    const { client } = open({ WebSocket: null });
    await settle();
    server.refusal = error;
    const done = client.add(1);
    await settle();
    server.refusal = null;
    await clock.advance(5_000);
    assert.equal(await done, true, error);
    assert.equal(server.total("clicks"), 1n);
  }
});

test("callbacks may call the client", async () => {
  const { server, open, settle } = world();
  const one = open({ onstatus: () => one.client.close() });
  await settle();
  assert.equal(server.sockets.size, 0);
  const two = open({ onchange: ({ total }) => { if (total < 5) two.client.add(1); } });
  await settle();
  assert.equal(server.total("clicks"), 5n);
});

test("a callback that throws does not cost the link", async () => {
  const { server, open, settle } = world();
  const thrown = [];
  const hear = (error) => thrown.push(error.message);
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException").on("uncaughtException", hear);
  try {
    open({ WebSocket: null, onchange: () => { throw new Error("of the program"); } });
    await settle();
    server.add("clicks", 1);
    await settle();
  } finally {
    process.off("uncaughtException", hear);
    for (const other of others) process.on("uncaughtException", other);
  }
  assert.deepEqual(thrown, ["of the program", "of the program"]);
  assert.equal(server.streams.size, 1);
});
