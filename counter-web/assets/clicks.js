// Clicks: kept until they are acknowledged, also through a reload, and each sent under one id.
import { address, counter, show } from "./model.js";

const SEND_EVERY = 30; // ms in which fast clicks become one add
const AMOUNT_MAX = 1000000;
const RETRY = 1000; // ms after which an add that came too fast, or that the disk did not take, is sent again
const RETRIED = new Set(["rate_limited", "not_durable"]);

// What became of an add that is not acknowledged yet.
const FRESH = 0; // never sent: shown
const SENT = 1; // sent on this socket alone, and not answered: shown
const APPLIED = 2; // counted and not on the disk yet: shown as settled until the server's number contains it
const UNCERTAIN = 3; // sent on an earlier socket or by an earlier load, so that the server's number may contain it: not shown

const store = {
  // A counter's name has no line break: deployments below two paths of a site never share a key.
  key: "counter.waiting." + counter + ("\n" + address(".").pathname).replace(/^\n\/$/, ""),
  read() { try { return JSON.parse(localStorage.getItem(this.key)) || {}; } catch { return {}; } },
  write(all) { try { localStorage.setItem(this.key, JSON.stringify(all)); } catch { /* private mode: kept in memory only */ } },
};
// Of this load of the page, and of no other.
export const client = Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(36).padStart(2, "0")).join("").slice(0, 12);
// A node tells the latest 64 adds of a client apart: more than half as many are not sent before an answer.
const WAITING_MAX = 32;
let sequence = 0;
let gathered = 0; // clicked, and not yet an add
let waiting = []; // {id, amount, state}: not yet acknowledged
let settled = 0n; // counted, and not yet in the server's number
let sendTimer = 0;
let sendNow = () => false;
let ahead = true; // clicks are shown before the server's number contains them

// What is shown beyond the server's number, which together never exceed the clicks made, and how many clicks it has not acknowledged.
const isShown = (add) => ahead && (add.state === FRESH || add.state === SENT);
const size = (adds, more) => adds.reduce((sum, add) => sum + Math.abs(add.amount), more);
export const pending = () => waiting.filter(isShown).reduce((sum, add) => sum + BigInt(add.amount), settled + BigInt(ahead && gathered));
export const waitingCount = () => size(waiting, Math.abs(gathered));
// Those of them that the number does not show.
export const unseenCount = () => (ahead ? size(waiting.filter((add) => add.state === UNCERTAIN), 0) : waitingCount());

// `f` sends an add, and returns whether there was a socket to send it on.
export const sendWith = (f) => { sendNow = f; };
function send(add) {
  if (sendNow(add) && add.state === FRESH) add.state = SENT;
}

// Keeps what waits for the next load of the page, and forgets what was kept for `gone`.
function keep(gone) {
  const all = store.read();
  delete all[gone];
  const whole = waiting.map(({ id, amount }) => ({ id, amount }));
  if (gathered) whole.push({ id: client + ":" + (sequence + 1), amount: gathered });
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
    const add = { id: client + ":" + ++sequence, amount, state: FRESH };
    waiting.push(add);
    send(add);
  }
  keep();
  show();
}

// A new link brings the server's number, which may contain whatever was sent before: all of it is sent again.
// By POST an add may be in the number before its answer comes: then no click is shown `ahead` of it.
export function began(mayShow) {
  ahead = mayShow;
  settled = 0n;
  for (const add of waiting) {
    if (add.state !== FRESH) add.state = UNCERTAIN;
    send(add);
  }
}

// A change contains everything that was answered before it.
export function changed() { settled = 0n; }

// An answer to an add: `applied`, to be acknowledged later; `ack`; or an error: it is done (`cannot_tell`), given up or sent again.
// Gives the amount that was added to the counter now.
export function answered({ type, id, repeated, error }) {
  const at = waiting.findIndex((add) => add.id === id);
  if (at < 0) return 0;
  const add = waiting[at];
  if (RETRIED.has(error)) {
    setTimeout(() => { if (waiting.includes(add)) send(add); }, RETRY);
    return 0;
  }
  const now = type !== "error" && repeated === false && add.state !== APPLIED;
  if (now) {
    add.state = APPLIED;
    settled += BigInt(add.amount);
  }
  if (type !== "applied") {
    waiting.splice(at, 1);
    keep();
    if (gathered && !sendTimer) sendTimer = setTimeout(gather, SEND_EVERY);
  }
  return now ? add.amount : 0;
}

// What a load of the page left behind that is gone: taken over, ids and all, so that what is sent again counts once.
function adopt(owner) {
  const left = store.read()[owner];
  if (!left || !Array.isArray(left.adds)) return;
  const adds = left.adds.map(({ id, amount }) => ({ id, amount, state: UNCERTAIN }));
  waiting.push(...adds);
  keep(owner);
  adds.forEach(send);
  show();
}
const ALIVE = 60000; // ms in which a load that keeps something is taken for alive, where there are no locks
const owners = Object.entries(store.read());
if (navigator.locks) {
  navigator.locks.request("counter." + client, () => new Promise(() => {}));
  // Who holds its lock lives; what it leaves is taken over when it goes.
  for (const [owner] of owners) navigator.locks.request("counter." + owner, () => adopt(owner));
} else {
  for (const [owner, left] of owners) if (!(Date.now() - left?.at < ALIVE)) adopt(owner);
}
