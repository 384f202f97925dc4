// Each click counts once, whatever happens to the link. No total is more than the truth.
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertWithoutGaps, world } from "./setup.mjs";

test("an add is acknowledged and counted", async () => {
  const { server, open, settle } = world();
  const { client, shown, states } = open();
  await settle();
  assert.equal(shown(), 0);
  const done = client.add(3);
  assert.equal(shown(), 3, "a click is shown at once");
  assert.equal(client.waiting, 3);
  assert.equal(await done, true);
  await settle();
  assert.equal(shown(), 3);
  assert.equal(client.waiting, 0);
  assert.equal(server.total("clicks"), 3n);
  assert.deepEqual(states.map(({ state }) => state), ["connecting", "live"]);
});

test("an add before the link opens is sent once it does", async () => {
  const { server, open, settle } = world();
  const { client } = open();
  const done = client.add(2);
  assert.equal(client.total(), undefined, "no total is known yet");
  await settle();
  assert.equal(await done, true);
  assert.equal(server.total("clicks"), 2n);
});

test("an add that was applied before the link dropped counts once", async () => {
  const { clock, server, open, settle } = world();
  server.answers = server.showsChanges = false;
  const { client, changes, shown } = open();
  await settle();
  const done = client.add(3);
  await settle();
  assert.equal(server.total("clicks"), 3n);
  server.answers = server.showsChanges = true;
  server.cutAll();
  await clock.advance(60_000);
  assert.equal(await done, true);
  assert.equal(shown(), 3);
  assert.equal(server.total("clicks"), 3n);
  assert.ok(changes.every(({ total }) => total <= 3), "never more than the truth");
  const ids = server.adds().map(({ id }) => id);
  assert.ok(ids.length >= 2 && new Set(ids).size === 1, "resent under one id");
});

test("an add that was lost with the link is applied once it is sent again", async () => {
  const { clock, server, open, settle } = world();
  server.applies = false;
  const { client, changes, shown } = open();
  await settle();
  const done = client.add(3);
  await settle();
  server.applies = true;
  server.cutAll();
  await clock.advance(60_000);
  assert.equal(await done, true);
  assert.equal(shown(), 3);
  assert.ok(changes.every(({ total }) => total <= 3));
});

test("a late ack neither hides nor doubles an add", async () => {
  const { server, open, settle } = world();
  server.isDurable = true;
  const { client, changes, shown } = open();
  await settle();
  let acknowledged = false;
  client.add(5).then(() => { acknowledged = true; });
  await settle();
  assert.equal(shown(), 5);
  assert.equal(client.waiting, 5, "applied, and not yet on the disk");
  assert.equal(acknowledged, false);
  server.add("clicks", 2);
  await settle();
  assert.equal(shown(), 7);
  server.store();
  await settle();
  assert.equal(acknowledged, true);
  assert.equal(shown(), 7);
  assert.ok(changes.every(({ total }) => total <= 7));
});

test("applied before its change is shown once", async () => {
  const { server, open, settle } = world();
  server.isDurable = true;
  server.showsChanges = false;
  const { client, shown } = open();
  await settle();
  client.add(5);
  await settle();
  assert.equal(shown(), 5, "applied, while the change is still to come");
  server.show("clicks");
  await settle();
  assert.equal(shown(), 5);
});

test("acks may come in any order", async () => {
  const { server, open, settle } = world();
  server.isDurable = true;
  const { client, shown } = open();
  await settle();
  const done = [1, 2, 3, 4].map((amount) => client.add(amount));
  await settle();
  server.store((acks) => acks.reverse());
  await settle();
  assert.deepEqual(await Promise.all(done), [true, true, true, true]);
  assert.equal(shown(), 10);
  assert.equal(client.waiting, 0);
});

test("ids are numbered from 1 without gaps", async () => {
  const { clock, server, open, settle } = world();
  const { client } = open();
  await settle();
  for (let click = 0; click < 20; click++) {
    client.add(1);
    await settle();
    if (click % 5 === 4) {
      server.cutAll();
      client.add(1);
      await clock.advance(20_000);
    }
  }
  assert.equal(server.total("clicks"), 24n);
  assert.equal(assertWithoutGaps(assert, server.adds().map(({ id }) => id)), 1);
});

test("clicks made offline become one add", async () => {
  const { clock, server, open, settle } = world();
  server.isUp = false;
  const { client } = open();
  await settle();
  const done = Promise.all(Array.from({ length: 500 }, () => client.add(1)));
  assert.equal(client.waiting, 500);
  server.isUp = true;
  await clock.advance(60_000);
  await done;
  assert.equal(server.total("clicks"), 500n);
  assert.equal(server.adds().length, 1);
});

test("merged clicks are never 0 nor over the limit of an add", async () => {
  const { clock, server, open, settle } = world();
  server.isUp = false;
  const { client } = open();
  await settle();
  for (const amount of [1, -1, 1_000_000, 5, -7]) client.add(amount);
  server.isUp = true;
  await clock.advance(60_000);
  assert.equal(server.total("clicks"), 999_998n);
  for (const { amount } of server.adds()) {
    assert.ok(amount !== 0 && Math.abs(amount) <= 1_000_000, `${amount}`);
  }
  assertWithoutGaps(assert, server.adds().map(({ id }) => id));
});

test("an amount that no server takes is an error at once", async () => {
  const { open } = world();
  const { client } = open();
  for (const amount of [0, 1.5, 1_000_001, -1_000_001, NaN, "1", 1n]) {
    assert.throws(() => client.add(amount), RangeError, `${amount}`);
  }
  assert.equal(client.waiting, 0);
});

test("at most 32 adds are in flight", async () => {
  const { server, open, settle } = world();
  server.isDurable = true;
  const { client } = open({ counters: ["a", "b"] });
  await settle();
  for (let click = 0; click < 50; click++) client.add(1_000_000, "ab"[click % 2]);
  await settle();
  assert.equal(server.adds().length, 32);
  while (server.unstored.length) {
    server.store();
    await settle();
  }
  assert.equal(server.total("a") + server.total("b"), 50_000_000n);
  assert.equal(client.waiting, 0);
});

test("a full queue refuses an add and reports it", async () => {
  const { clock, server, open, settle } = world();
  server.isUp = false;
  const { client, errors } = open({ counters: ["a", "b"] });
  await settle();
  // Amounts of two counters in turn merge with nothing.
  const done = Array.from({ length: 1001 }, (_, click) => client.add(1_000_000, "ab"[click % 2]));
  assert.equal(await done[1000], false);
  assert.deepEqual(errors.map(({ error, counter }) => [error, counter]), [["queue_full", "a"]]);
  assert.equal(client.waiting, 1_000_000_000);
  server.isUp = true;
  await clock.advance(60_000);
  assert.equal(server.total("a") + server.total("b"), 1_000_000_000n);
  assertWithoutGaps(assert, server.adds().map(({ id }) => id));
});

test("cannot_tell counts as done", async () => {
  const { server, open, settle } = world();
  server.refusal = "cannot_tell";
  const { client, errors, shown } = open();
  await settle();
  assert.equal(await client.add(4), true);
  assert.equal(shown(), 0, "the server's number already contains it, if anything does");
  assert.equal(client.waiting, 0);
  assert.deepEqual(errors, []);
});

test("an add that came too fast is sent again", async () => {
  const { clock, server, open, settle } = world();
  server.refusal = "rate_limited";
  const { client, shown } = open();
  await settle();
  const done = client.add(4);
  await settle();
  assert.equal(client.waiting, 4);
  server.refusal = null;
  await clock.advance(5_000);
  assert.equal(await done, true);
  assert.equal(shown(), 4);
});

test("an add that is refused for good is given up and reported", async () => {
  const { server, open, settle } = world();
  server.refusal = "name_not_allowed";
  const { client, errors, shown } = open();
  await settle();
  assert.equal(await client.add(4), false);
  assert.equal(shown(), 0);
  assert.equal(client.waiting, 0);
  const [{ error, amount, counter }] = errors;
  assert.deepEqual([error, amount, counter], ["name_not_allowed", 4, "clicks"]);
});

test("a stopping node refuses and loses nothing", async () => {
  const { clock, server, open, settle } = world();
  server.refusal = "stopping";
  const { client } = open();
  await settle();
  const done = client.add(4);
  await settle();
  server.cutAll();
  server.refusal = null;
  await clock.advance(30_000);
  assert.equal(await done, true);
  assert.equal(server.total("clicks"), 4n);
});

test("totals beyond 2^53 - 1 are bigints", async () => {
  const { server, open, settle } = world();
  server.totals.set("clicks", 2n ** 53n - 2n);
  const { client, changes, shown } = open();
  await settle();
  assert.equal(shown(), 9007199254740990);
  client.add(2);
  assert.equal(shown(), 9007199254740992n);
  await settle();
  assert.equal(shown(), 9007199254740992n);
  assert.equal(changes.at(-1).regions.ord.value, 9007199254740992n);
  server.add("clicks", -5);
  await settle();
  assert.equal(shown(), 9007199254740987);
});

test("close ends everything", async () => {
  const { clock, server, open, settle } = world();
  const { client, states } = open();
  await settle();
  server.applies = false;
  const done = client.add(1);
  client.close();
  assert.equal(await done, false, "not known to be kept");
  await clock.advance(120_000);
  assert.equal(server.sockets.size, 0);
  assert.equal(server.tries.length, 1);
  assert.equal(clock.timers.size, 0);
  assert.equal(states.at(-1).state, "closed");
  assert.throws(() => client.add(1), /closed/);
});

test("adds that wait together go as one message", async () => {
  const { server, open, settle } = world();
  const { client } = open({ counters: ["clicks", "likes", "stars"] });
  await settle();
  const done = ["clicks", "likes", "stars"].map((name) => client.add(2, name));
  await settle();
  assert.deepEqual(await Promise.all(done), [true, true, true]);
  const sent = server.heard.filter(({ type }) => type === "adds" || type === "add");
  assert.deepEqual(sent.map(({ adds }) => adds?.length), [3], "one message");
  for (const name of ["clicks", "likes", "stars"]) assert.equal(server.total(name), 2n);
});

test("a bad add does not take the others of its batch with it", async () => {
  const { clock, server, open, settle } = world();
  server.refused.add("secret");
  const { client, errors } = open({ counters: ["clicks", "secret", "likes"] });
  await settle();
  const done = ["clicks", "secret", "likes"].map((name) => client.add(1, name));
  await settle();
  await clock.advance(5_000);
  assert.deepEqual(await Promise.all(done), [true, false, true]);
  assert.deepEqual(errors.map(({ error, counter }) => [error, counter]), [["name_not_allowed", "secret"]]);
  assert.equal(server.total("clicks"), 1n);
  assert.equal(server.total("likes"), 1n);
});

test("a batch over the rate is sent again, all of it and later", async () => {
  const { clock, server, open, settle } = world();
  server.refusal = "rate_limited";
  const { client, errors } = open({ counters: ["clicks", "likes"] });
  await settle();
  const done = ["clicks", "likes"].map((name) => client.add(1, name));
  await settle();
  assert.equal(client.waiting, 2);
  const tries = server.adds().length;
  await settle();
  assert.equal(server.adds().length, tries, "not before a pause");
  server.refusal = null;
  await clock.advance(10_000);
  assert.deepEqual(await Promise.all(done), [true, true]);
  assert.equal(errors.length, 0);
});

test("a server of an earlier release gets one add in a message", async () => {
  const { clock, server, open, settle } = world();
  server.applies = server.knowsWatch = false;
  const { client } = open();
  await settle();
  // Two adds that were sent already stay two. They are sent again together.
  const done = [client.add(1)];
  await settle();
  done.push(client.add(2));
  await settle();
  server.applies = true;
  server.cutAll();
  await clock.advance(60_000);
  assert.deepEqual(await Promise.all(done), [true, true]);
  assert.equal(server.total("clicks"), 3n);
  assert.ok(server.heard.some(({ type }) => type === "adds"), "a batch was tried");
  assert.ok(server.heard.every(({ type }) => type !== "POST"), "still on a socket");
});
