// A page's needs besides the total: its first number, its waiting clicks, and its hidden times.
import assert from "node:assert/strict";
import { test } from "node:test";
import { world } from "./setup.mjs";

test("a total from the HTML counts until the server answers", async () => {
  const { clock, server, open, settle } = world();
  server.isUp = false;
  server.totals.set("clicks", 7n);
  const { client, changes, shown } = open({ total: "5" });
  assert.equal(shown(), 5);
  client.add(2);
  await settle();
  assert.equal(shown(), 7, "an add that was not sent cannot be in it");
  assert.deepEqual([changes.at(-1).ahead, changes.at(-1).regions], [2, {}]);
  server.isUp = true;
  await clock.advance(20_000);
  assert.equal(shown(), 9);
  assert.equal(changes.at(-1).ahead, 0);
});

test("a view has the part that its total leaves out", async () => {
  const { clock, server, open, settle } = world();
  const { client, changes } = open();
  await settle();
  server.answers = false;
  client.add(3);
  await settle();
  assert.deepEqual([changes.at(-1).ahead, changes.at(-1).unseen], [3, 0]);
  server.answers = true;
  server.cutAll();
  server.refusal = "not_durable";
  await clock.advance(3_000);
  const { total, ahead, unseen, waiting } = changes.at(-1);
  assert.deepEqual({ total, ahead, unseen, waiting }, { total: 3, ahead: 0, unseen: 3, waiting: 3 });
});

test("a paused client is no viewer, and keeps its adds", async () => {
  const { clock, server, open, settle } = world();
  const { client, states } = open();
  await settle();
  client.pause();
  await clock.advance(60_000);
  assert.deepEqual([server.sockets.size, server.tries.length], [0, 1]);
  assert.equal(states.at(-1).state, "waiting");
  client.add(1);
  await clock.advance(60_000);
  assert.equal(server.tries.length, 1);
  client.resume();
  await clock.advance(100);
  assert.equal(server.total("clicks"), 1n);
  assert.equal(server.sockets.size, 1);
  client.resume();
  await clock.advance(100);
  assert.equal(server.tries.length, 2, "a link that is heard stays");
});

test("pings measure the round trip, from the first message on", async () => {
  const { clock, open } = world();
  const pings = [];
  const { client } = open({ onping: (ms) => pings.push(ms) });
  assert.equal(client.silence, Infinity);
  await clock.advance(11_000);
  assert.deepEqual(pings, [0, 0, 0]);
  assert.ok(client.silence <= 5_000);
});

test("an unanswered add breaks the link within 5 s", async () => {
  const { clock, server, open, settle } = world();
  const { client } = open();
  await clock.advance(4_000);
  server.applies = false;
  const done = client.add(1);
  await clock.advance(4_000);
  client.add(1);
  await clock.advance(1_000);
  assert.equal(server.sockets.size, 0, "a later add does not put it off");
  server.applies = true;
  await clock.advance(3_000);
  assert.equal(await done, true);
  await settle();
  assert.equal(server.total("clicks"), 2n);
});

test("a stream without the event of an add is dead", async () => {
  const { clock, server, open } = world();
  const { client, shown } = open({ WebSocket: null });
  await clock.advance(1_000);
  server.showsChanges = false;
  client.add(1);
  await clock.advance(4_000);
  assert.equal(server.heard.filter(({ path }) => path === "events").length, 1);
  await clock.advance(4_000);
  assert.equal(server.heard.filter(({ path }) => path === "events").length, 2);
  assert.equal(shown(), 1);
});

test("an add that waits for the server says why", async () => {
  const { clock, server, open, settle } = world();
  const { client, states } = open();
  await settle();
  server.refusal = "rate_limited";
  client.add(1);
  await settle();
  assert.deepEqual(states.at(-1), { state: "live", transport: "socket", why: "not now" });
  server.refusal = null;
  await clock.advance(3_000);
  assert.deepEqual(states.at(-1), { state: "live", transport: "socket" });
  assert.equal(server.total("clicks"), 1n);
});

test("a POST of the wrong origin breaks the link, and its add is kept", async () => {
  const { clock, server, open } = world();
  const { client, states, errors } = open({ WebSocket: null });
  await clock.advance(1_000);
  server.refusal = "wrong_origin";
  const done = client.add(1);
  await clock.advance(100);
  assert.deepEqual(states.at(-1), { state: "waiting", why: "not now" });
  server.refusal = null;
  await clock.advance(20_000);
  assert.equal(await done, true);
  assert.deepEqual(errors, []);
});
