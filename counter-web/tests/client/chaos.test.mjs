// Random histories of clicks, cuts, lost answers, reloads and restarts, beside a plain sum.
import assert from "node:assert/strict";
import { test } from "node:test";
import { seeded } from "./fake.mjs";
import { assertWithoutGaps, stored, world } from "./setup.mjs";

const HISTORIES = Number(process.env.COUNTER_HISTORIES ?? 60);
const STEPS = 60;

async function play(seed) {
  const { clock, server, open, settle } = world(seed);
  const random = seeded(seed * 7919 + 1);
  const pick = (below) => Math.floor(random() * below);
  const storage = stored();
  const options = { storage, ...(seed % 4 === 0 && { WebSocket: null }) };
  let clicked = 0n;
  const tabs = [open(options)];
  const check = () => {
    for (const { changes } of tabs) {
      for (const { total } of changes.splice(0)) {
        assert.ok(total === undefined || BigInt(total) <= clicked, `${total} shown of ${clicked}`);
      }
    }
  };
  for (let step = 0; step < STEPS; step++) {
    const tab = tabs[pick(tabs.length)];
    switch (pick(12)) {
      case 0: server.cutAll(); break;
      case 1: server.answers = !server.answers; break;
      case 2: server.applies = !server.applies; break;
      case 3: server.isUp ? server.stop() : (server.isUp = true); break;
      case 4: server.isDurable = !server.isDurable; break;
      case 5: server.store(random() < 0.5 ? (acks) => acks.reverse() : undefined); break;
      case 6: server.refusal = server.refusal ? null : "rate_limited"; break;
      case 7:
        tab.crash();
        tabs.splice(tabs.indexOf(tab), 1, open(options));
        break;
      case 8:
        if (tabs.length < 3) tabs.push(open(options));
        break;
      case 9: await clock.advance(pick(20_000)); break;
      default:
        for (let click = pick(6); click >= 0; click--) {
          const amount = 1 + pick(9);
          clicked += BigInt(amount);
          tab.client.add(amount);
        }
    }
    await settle();
    check();
  }
  const healthy = { isUp: true, answers: true, applies: true, isDurable: false, refusal: null };
  Object.assign(server, healthy);
  server.store();
  await clock.advance(120_000);
  check();
  assert.equal(server.total("clicks"), clicked);
  for (const { client, shown } of tabs) {
    assert.equal(BigInt(shown()), clicked);
    assert.equal(client.waiting, 0);
  }
  assertWithoutGaps(assert, server.adds().map(({ id }) => id));
}

test("no history loses a click, counts one twice, or shows more than the truth", async () => {
  for (let seed = 1; seed <= HISTORIES; seed++) {
    await play(seed).catch((error) => {
      error.message = `history ${seed}: ${error.message}`;
      throw error;
    });
  }
});
