// Clicks: kept until they are acknowledged, even over a reload. Each is sent with one id.
import { address, counter, show } from "./model.js";

const SEND_EVERY = 30; // ms in which fast clicks become one add
const AMOUNT_MAX = 1000000;
const RETRY = 1000; // ms before an add that the node could not take now is sent again
const RETRIED = new Set(["rate_limited", "not_durable", "not_ready", "stopping"]);

// The states of an add that is not acknowledged yet.
const FRESH = 0; // not sent yet: shown
const SENT = 1; // sent on this socket only, no reply yet: shown
// Counted, not on the disk yet: shown as settled until the server's number contains it.
const APPLIED = 2;
// Sent on an earlier socket or by an earlier load. The server's number may contain it: not shown.
const UNCERTAIN = 3;

const store = {
  // A name has no line break, so two deployments on one site never share a key.
  key: "counter.waiting." + counter + ("\n" + address(".").pathname).replace(/^\n\/$/, ""),
  read() { try { return JSON.parse(localStorage.getItem(this.key)) || {}; } catch { return {}; } },
  write(all) { try { localStorage.setItem(this.key, JSON.stringify(all)); } catch { /* private mode: kept in memory only */ } },
};
// The id of this load of the page, as the client of its adds.
export const client = Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(36).padStart(2, "0")).join("").slice(0, 12);
// A node remembers the latest 64 adds of a client. At most half as many wait for a reply.
const WAITING_MAX = 32;
let sequence = 0;
let gathered = 0; // clicked, not an add yet
let waiting = []; // {id, amount, state}: not acknowledged yet
let settled = 0n; // counted, not in the server's number yet
let sendTimer = 0;
let sendNow = () => false;
let ahead = true; // clicks are shown before the server's number contains them

// `pending` is the amount shown on top of the server's number, never more than the clicks made.
// `waitingCount` is the number of unacknowledged clicks.
const isShown = (add) => ahead && (add.state === FRESH || add.state === SENT);
const size = (adds, more) => adds.reduce((sum, add) => sum + Math.abs(add.amount), more);
export const pending = () => waiting.filter(isShown).reduce((sum, add) => sum + BigInt(add.amount), settled + BigInt(ahead && gathered));
export const waitingCount = () => size(waiting, Math.abs(gathered));
// The unacknowledged clicks that are not shown.
export const unseenCount = () => (ahead ? size(waiting.filter((add) => add.state === UNCERTAIN), 0) : waitingCount());

// `f` sends an add. It returns true if there was a socket.
export const sendWith = (f) => { sendNow = f; };
function send(add) {
  if (sendNow(add) && add.state === FRESH) add.state = SENT;
}

// Saves the waiting adds for the next load, and removes those of `gone`.
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

// Turns clicks into adds and sends them. Also called when the page closes.
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

// A new link has a number that may contain any add sent before. All of them are sent again.
// With POST, the number may contain an add before its reply, so no click is shown `ahead` of it.
export function began(mayShow) {
  ahead = mayShow;
  settled = 0n;
  for (const add of waiting) {
    if (add.state !== FRESH) add.state = UNCERTAIN;
    send(add);
  }
}

// A change contains every add that had a reply before it.
export function changed() { settled = 0n; }

// Takes the reply to an add: `applied` (an `ack` follows), `ack`, or an error. After an error the
// add is done (`cannot_tell`), dropped or sent again. Returns the amount that was added just now.
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

// Takes over the adds of an earlier load that is gone. They keep their ids, so repeats count once.
function takeOver(owner) {
  const left = store.read()[owner];
  if (!left || !Array.isArray(left.adds)) return;
  const adds = left.adds.map(({ id, amount }) => ({ id, amount, state: UNCERTAIN }));
  waiting.push(...adds);
  keep(owner);
  adds.forEach(send);
  show();
}
const ALIVE = 60000; // ms for which a load counts as alive in browsers without locks
const owners = Object.entries(store.read());
if (navigator.locks) {
  navigator.locks.request("counter." + client, () => new Promise(() => {}));
  // A load holds its lock while it lives. Then its adds are taken over.
  for (const [owner] of owners) navigator.locks.request("counter." + owner, () => takeOver(owner));
} else {
  for (const [owner, left] of owners) if (!(Date.now() - left?.at < ALIVE)) takeOver(owner);
}
