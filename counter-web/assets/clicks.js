// Clicks: kept until they are acknowledged, also through a reload, and each sent under one id.
import { counter, show } from "./model.js";

const SEND_EVERY = 30; // ms in which fast clicks become one add
const AMOUNT_MAX = 1000000;
const SETTLE = 1500; // ms in which the server's next message should hold what it acknowledged
const RETRY = 1000; // ms after which what was over the rate is sent again

const store = {
  key: "counter.waiting." + counter,
  read() { try { return JSON.parse(localStorage.getItem(this.key)) || {}; } catch { return {}; } },
  write(all) { try { localStorage.setItem(this.key, JSON.stringify(all)); } catch { /* private mode: kept in memory only */ } },
};
// Of this load of the page, and of no other.
export const client = Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(36).padStart(2, "0")).join("").slice(0, 12);
// A node tells the latest 64 adds of a client apart: more than half as many are not sent before an answer.
const WAITING_MAX = 32;
let sequence = 0;
let gathered = 0; // clicked, and not yet an add
let waiting = []; // {id, amount}: sent or to be sent, not yet acknowledged
let settled = 0n; // acknowledged, and not yet in a message of the server
let sendTimer = 0, settleTimer = 0;
let send = () => {};

// What is shown beyond what the server says, and how many clicks it has not acknowledged.
export const pending = () => waiting.reduce((sum, add) => sum + BigInt(add.amount), BigInt(gathered) + settled);
export const waitingCount = () => waiting.reduce((sum, add) => sum + Math.abs(add.amount), Math.abs(gathered));

export const sendWith = (f) => { send = f; };
export const sendAll = () => waiting.forEach((add) => send(add));

function keep() {
  const all = store.read();
  const whole = gathered ? waiting.concat({ id: client + ":" + (sequence + 1), amount: gathered }) : waiting;
  if (whole.length) all[client] = { at: Date.now(), adds: whole }; else delete all[client];
  store.write(all);
}

export function click(amount) {
  gathered += amount;
  keep();
  if (!sendTimer) sendTimer = setTimeout(gather, SEND_EVERY);
  show();
}

// Makes adds of what was clicked, and sends them; at once when the page goes.
export function gather() {
  clearTimeout(sendTimer);
  sendTimer = 0;
  while (gathered !== 0 && waiting.length < WAITING_MAX) {
    const amount = Math.max(-AMOUNT_MAX, Math.min(AMOUNT_MAX, gathered));
    gathered -= amount;
    const add = { id: client + ":" + ++sequence, amount };
    waiting.push(add);
    send(add);
  }
  keep();
  show();
}

// An ack or an error: the add it names is done with, unless it only came too fast. Gives the amount that was applied.
export function answered(message) {
  const at = waiting.findIndex((add) => add.id === message.id);
  if (at < 0) return 0;
  if (message.error === "rate_limited") { setTimeout(sendAll, RETRY); return 0; }
  const [{ amount }] = waiting.splice(at, 1);
  keep();
  if (gathered && !sendTimer) sendTimer = setTimeout(gather, SEND_EVERY);
  if (message.type !== "ack") return 0;
  // Shown until the server's next message has it; an add that was sent twice is in the last one already, and no message follows.
  settled += BigInt(amount);
  clearTimeout(settleTimer);
  settleTimer = setTimeout(settle, SETTLE);
  return amount;
}

// The server's message holds all that it acknowledged.
export function settle() { settled = 0n; show(); }

// What a page left behind that is gone: taken over, ids and all, so that a repeated send counts once.
function adopt(alive) {
  const all = store.read();
  for (const [owner, left] of Object.entries(all)) {
    if (owner === client || alive.has(owner) || !Array.isArray(left.adds)) continue;
    waiting.push(...left.adds);
    delete all[owner];
  }
  store.write(all);
  keep();
  sendAll();
  show();
}
if (navigator.locks) {
  navigator.locks.request("counter." + client, () => new Promise(() => {}));
  navigator.locks.query().then(({ held }) => adopt(new Set(held.map((lock) => lock.name.replace("counter.", "")))));
} else {
  adopt(new Set(Object.entries(store.read()).filter(([, left]) => Date.now() - left.at < 60000).map(([owner]) => owner)));
}
