// The same client against a running node: COUNTER_URL=http://127.0.0.1:4000 node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../assets/scripts/counter-client.js";

const url = process.env.COUNTER_URL;

// Resolves with the first view that `is` takes.
function follow(counters, options) {
  const waiting = new Set(), links = new Set();
  const client = connect(url, {
    counters,
    onstatus: ({ state, transport }) => { if (state === "live") links.add(transport); },
    onchange: (view) => {
      for (const one of waiting) if (one.is(view)) one.done(view);
    },
    ...options,
  });
  const until = (is) => new Promise((done) => waiting.add({ is, done }));
  return { client, until, links };
}

const kinds = {
  socket: globalThis.WebSocket ? {} : undefined,
  events: { WebSocket: null },
};

for (const [transport, options] of Object.entries(kinds)) {
  const skip = !url ? "COUNTER_URL is not set" : !options && "this Node has no WebSocket";
  test(`adds reach a node by ${transport}`, { skip, timeout: 20_000 }, async () => {
    const name = `test-${transport}-${Date.now()}`;
    const { client, until } = follow([name], options);
    try {
      await until(({ total }) => total === 0);
      const shown = until(({ total, waiting }) => total === 7 && waiting === 0);
      assert.deepEqual(await Promise.all([client.add(9), client.add(-2)]), [true, true]);
      await shown;
      assert.equal((await client.read(name)).total, 7);
      assert.notEqual(client.token, "");
    } finally {
      client.close();
    }
  });
  test(`one client follows two counters by ${transport}`, { skip, timeout: 20_000 }, async () => {
    const names = ["a", "b"].map((name) => `test-${transport}-${name}-${Date.now()}`);
    const { client, until, links } = follow(names, options);
    try {
      const shown = names.map((name, at) =>
        until(({ counter, total }) => counter === name && total === at + 1));
      const done = names.map((name, at) => client.add(at + 1, name));
      assert.deepEqual(await Promise.all(done), [true, true]);
      await Promise.all(shown);
      assert.deepEqual([...links], [transport], "and by nothing else");
    } finally {
      client.close();
    }
  });
}
