// Clicks survive a reload, and two tabs never number adds under one client id at once.
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertWithoutGaps, stored, world } from "./setup.mjs";

const clientOf = (add) => add.id.split(":")[0];

test("clicks made offline survive a reload", async () => {
  const { clock, server, open, settle } = world();
  const storage = stored();
  server.isUp = false;
  const before = open({ storage });
  await settle();
  before.client.add(2);
  before.crash();
  server.isUp = true;
  const after = open({ storage });
  await clock.advance(10_000);
  assert.equal(server.total("clicks"), 2n);
  assert.equal(after.shown(), 2);
  assert.equal(after.client.waiting, 0);
});

test("clicks from before a reload are shown once the server says they are new", async () => {
  for (const wasApplied of [true, false]) {
    const { clock, server, open, settle } = world();
    const storage = stored();
    const before = open({ storage });
    await settle();
    server.applies = wasApplied;
    server.answers = server.showsChanges = false;
    before.client.add(5);
    await settle();
    before.crash();
    server.applies = false;
    const after = open({ storage });
    await settle();
    assert.equal(after.client.waiting, 5);
    assert.equal(after.shown(), wasApplied ? 5 : 0, "the server's number alone");
    server.applies = server.answers = server.showsChanges = true;
    await clock.advance(20_000);
    assert.equal(after.shown(), 5);
    assert.ok(after.changes.every(({ total }) => total <= 5));
    assert.equal(server.total("clicks"), 5n);
  }
});

test("nothing stays in the storage once all is acknowledged", async () => {
  const { server, open, settle } = world();
  const storage = stored();
  for (let load = 0; load < 5; load++) {
    const page = open({ storage });
    await settle();
    assert.equal(await page.client.add(1), true);
    page.crash();
    await settle();
  }
  assert.equal(server.total("clicks"), 5n);
  assert.equal(storage.length, 0);
});

test("two tabs have two client ids", async () => {
  const { server, open, settle } = world();
  const storage = stored();
  const [first, second] = [open({ storage }), open({ storage })];
  await settle();
  await Promise.all([first, second, first, second].map(({ client }) => client.add(1)));
  assert.equal(new Set(server.adds().map(clientOf)).size, 2);
  assert.equal(server.total("clicks"), 4n);
  assertWithoutGaps(assert, server.adds().map(({ id }) => id));
});

test("a tab takes over the adds of a closed one", async () => {
  const { clock, server, open, settle } = world();
  const storage = stored();
  const first = open({ storage });
  await settle();
  server.applies = false;
  first.client.add(3);
  await settle();
  const second = open({ storage });
  await settle();
  assert.equal(second.client.waiting, 0, "the first tab lives");
  first.crash();
  server.applies = true;
  await clock.advance(10_000);
  assert.equal(server.total("clicks"), 3n);
  assert.equal(second.client.waiting, 0);
  assert.equal(second.shown(), 3);
});

test("close leaves the queue to the next load", async () => {
  const { clock, server, open, settle } = world();
  const storage = stored();
  server.isUp = false;
  const first = open({ storage });
  await settle();
  first.client.add(3);
  first.client.close();
  server.isUp = true;
  open({ storage });
  await clock.advance(10_000);
  assert.equal(server.total("clicks"), 3n);
});

test("adds of other counters are taken over too", async () => {
  const { clock, server, open, settle } = world();
  const storage = stored();
  server.isUp = false;
  const first = open({ storage, counters: ["likes"] });
  await settle();
  first.client.add(3, "likes");
  first.crash();
  server.isUp = true;
  open({ storage, counters: ["clicks"] });
  await clock.advance(10_000);
  assert.equal(server.total("likes"), 3n);
});

test("without locks a queue is taken over once it is old", async () => {
  const { clock, server, open, settle } = world();
  const storage = stored();
  server.isUp = false;
  const options = { storage, locks: null };
  const first = open(options);
  await settle();
  first.client.add(3);
  first.crash();
  server.isUp = true;
  const second = open(options);
  await clock.advance(10_000);
  assert.equal(server.total("clicks"), 0n, "the first may still live");
  second.client.close();
  await clock.advance(180_000);
  const third = open(options);
  await clock.advance(10_000);
  assert.equal(server.total("clicks"), 3n);
  assert.equal(storage.length, 0);
  await third.client.add(1);
  assert.equal(new Set(server.adds().map(clientOf)).size, 2, "its id numbers nothing new");
});

test("a storage that lost its latest writes loses no click", async () => {
  const { server, open, settle } = world();
  const storage = stored();
  const first = open({ storage });
  await settle();
  await first.client.add(1);
  const old = storage.copy();
  await first.client.add(1);
  await first.client.add(1);
  first.crash();
  const second = open({ storage: old });
  await settle();
  const done = await Promise.all([1, 1, 1, 1].map((amount) => second.client.add(amount)));
  assert.deepEqual(done, [true, true, true, true]);
  await settle();
  assert.equal(server.total("clicks"), 7n);
  assert.equal(second.shown(), 7);
  assert.ok(second.changes.every(({ total }) => total <= 7));
});

test("a full storage keeps adds in memory, and no id is used twice", async () => {
  const { server, open, settle } = world();
  const storage = stored();
  const first = open({ storage });
  await settle();
  await first.client.add(1);
  storage.full = true;
  await first.client.add(1);
  first.crash();
  storage.full = false;
  const second = open({ storage });
  await settle();
  await second.client.add(1);
  assert.equal(server.total("clicks"), 3n);
  assert.equal(new Set(server.adds().map(({ id }) => id)).size, 3);
});

test("foreign entries in the storage are left alone", async () => {
  const { open, settle } = world();
  const storage = stored();
  storage.setItem("theme", "dark");
  storage.setItem("counter http://server.test/ broken", "{");
  storage.setItem("counter http://server.test/ odd", "[1]");
  storage.setItem("counter http://server.test/ none", "null");
  const { client, shown } = open({ storage });
  await settle();
  assert.equal(await client.add(1), true);
  assert.equal(shown(), 1);
  assert.equal(storage.getItem("theme"), "dark");
});

test("a queue that would overflow this one stays in the storage", async () => {
  const { clock, server, open, settle } = world();
  const storage = stored();
  server.isUp = false;
  const options = { storage, counters: ["a", "b"] };
  const fill = ({ client }) => {
    for (let click = 0; click < 600; click++) client.add(1_000_000, "ab"[click % 2]);
  };
  const first = open(options);
  await settle();
  fill(first);
  const second = open(options);
  await settle();
  fill(second);
  first.crash();
  await settle();
  assert.equal(second.client.waiting, 600_000_000);
  server.isUp = true;
  await clock.advance(60_000);
  assert.equal(server.total("a") + server.total("b"), 600_000_000n);
  open(options);
  await clock.advance(60_000);
  assert.equal(server.total("a") + server.total("b"), 1_200_000_000n);
  assert.equal(storage.length, 0);
});

test("without locks no click joins a waiting add", async () => {
  const { clock, server, open, settle } = world();
  const storage = stored();
  server.isUp = false;
  const options = { storage, locks: null };
  const first = open(options);
  await settle();
  first.client.add(1);
  await clock.advance(180_000);
  server.isUp = true;
  open(options);
  await settle();
  first.client.add(1);
  await clock.advance(30_000);
  assert.equal(server.total("clicks"), 2n);
});
