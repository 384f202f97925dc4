// examples/client.py against a server that cuts connections and refuses adds.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("../../examples/client.py", import.meta.url));
const skip = spawnSync("python3", ["--version"]).status !== 0 && "there is no python3";

test("the Python example counts each add once", { skip, timeout: 60_000 }, async () => {
  const applied = new Map(), streams = new Set(), keys = [], tokens = [];
  let total = 2n ** 53n;
  const faults = ["cut", "busy"];
  const show = (stream) => stream.write(`data: ${JSON.stringify({ total: String(total) })}\n\n`);

  const server = createServer(async (request, response) => {
    if (request.url === "/api/counters/a%20b/events") {
      streams.add(response);
      response.on("close", () => streams.delete(response));
      return show(response);
    }
    assert.equal(request.url, "/api/counters/a%20b/add");
    let body = "";
    for await (const piece of request) body += piece;
    const key = request.headers["idempotency-key"], fault = faults.shift();
    keys.push(key);
    tokens.push(request.headers["counter-token"]);
    if (fault === "busy") return response.writeHead(503).end('{"error":"stopping"}');
    if (!applied.has(key)) {
      const { amount } = JSON.parse(body);
      applied.set(key, amount);
      total += BigInt(amount);
      streams.forEach(show);
    }
    if (fault === "cut") {
      for (const stream of streams) stream.destroy();
      return request.socket.destroy();
    }
    if (keys.length > 4) return response.writeHead(409).end('{"error":"cannot_tell"}');
    response.writeHead(200, { "counter-token": `seen-${keys.length}` });
    response.end(JSON.stringify({ total: String(total), id: key }));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${server.address().port}/`;
  const child = spawn("python3", [script, url, "a b", "5", "1", "-2"]);
  try {
    let printed = "";
    child.stderr.pipe(process.stderr);
    for await (const piece of child.stdout) {
      printed += piece;
      if (printed.includes("9007199254740996\n")) break;
    }
  } finally {
    child.kill();
    server.closeAllConnections();
    server.close();
  }
  assert.deepEqual([...applied.values()], [5, 1, -2]);
  assert.equal(new Set(keys).size, 3);
  assert.deepEqual(keys.map((key) => key.split(":")[1]), ["1", "1", "1", "2", "3"]);
  assert.deepEqual(tokens, ["", "", "", "seen-3", "seen-4"]);
});

test("the Python example reports a refused add", { skip, timeout: 60_000 }, async () => {
  const server = createServer((request, response) => {
    if (request.url.endsWith("/events")) return response.write(": open\n\n");
    response.writeHead(409).end('{"error":"counter_expired","message":"the counter expired"}');
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  const child = spawn("python3", [script, url, "a", "1"]);
  try {
    let said = "";
    for await (const piece of child.stderr) {
      said += piece;
      if (said.includes("ValueError: the counter expired\n")) break;
    }
    assert.match(said, /ValueError: the counter expired/);
  } finally {
    child.kill();
    server.closeAllConnections();
    server.close();
  }
});
