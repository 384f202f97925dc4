// The page's one link to its node: a WebSocket, or else events and POSTs.
// A lost link is reopened after a random wait, and at once after sleep or for a click.
import { client } from "./clicks.js";
import { ask, listen } from "./listen.js";
import { $, address, counter, show } from "./model.js";

// All in milliseconds.
const PING_EVERY = 5000, ANSWER_MAX = 5000, HIDDEN_MAX = 300000, SLEPT = 10000;
const GRACE = 3000; // a shorter loss is not shown, so a restart goes unnoticed
const OFFLINE_AFTER = 15000;
const HURRY = 2000; // a click connects at once, but not sooner than this after the last try
// A node that dies breaks thousands of links. The first wait spreads them over FIRST_MAX.
export const WAIT_MIN = 100, FIRST_MAX = 2600, WAIT_MAX = 10000;
export const wait = (attempts, random) =>
  WAIT_MIN + random * (Math.min(WAIT_MAX, FIRST_MAX * 2 ** attempts) - WAIT_MIN);
const BLOCKED_MAX = 2; // failures that the node would have accepted, before the page goes on without WebSocket
const REFUSALS = [400, 403, 429, 503];

let link = null; // {send, close}
let opened = false; // its first message has come
let listening = false; // the link is not a WebSocket
let attempts = 0, blocked = 0, retryTimer = 0, retryAt = 0, triedAt = 0, heardAt = 0, askedAt = 0;
let lostAt = Date.now(), left = false, refusal = "";
let hear = () => {}, leave = () => {};

export const isListening = () => listening;
// Sends a message. Each has a reply, so silence means a lost link. Returns false without a link.
export const send = (message) => {
  if (!opened) return false;
  askedAt ||= Date.now();
  link.send(message);
  return true;
};

// Opens the link. `hearWith` gets each message. `leaveWith` is called when the page closes.
export function open(hearWith, leaveWith) {
  [hear, leave] = [hearWith, leaveWith];
  connect();
}

// Called for the first message of a link.
export function isOpen() {
  [opened, refusal] = [true, ""];
  if (!listening) attempts = blocked = 0;
  ping();
}

// {state, words, why}: `why` is the message of a refusal while it holds.
export function status() {
  const lost = Date.now() - lostAt;
  if (opened) return { state: "live", words: "live" };
  if (refusal) return { state: "offline", words: "refused", why: refusal };
  if (navigator.onLine === false || lost > OFFLINE_AFTER) return { state: "offline", words: "off line" };
  if (lost < GRACE && attempts < 2) return { state: "live", words: "live" };
  return { state: "waiting", words: "reconnecting" };
}

const url = () => address("ws?counter=" + encodeURIComponent(counter) + "&page=" + client);

function talk(heard, ended) {
  const at = url();
  at.protocol = at.protocol.replace("http", "ws");
  const socket = new WebSocket(at);
  socket.onmessage = (event) => heard(JSON.parse(event.data));
  socket.onclose = () => ended();
  return { send: (message) => socket.send(JSON.stringify(message)), close: () => socket.close(1000) };
}

function start(transport) {
  if (left || link) return;
  clearTimeout(retryTimer);
  [retryAt, listening] = [0, transport === listen];
  triedAt = heardAt = askedAt = Date.now();
  const mine = (link = transport((message) => {
    if (mine !== link) return;
    [heardAt, askedAt] = [Date.now(), 0];
    if (message.type !== "pong") hear(message);
    else $("rtt").textContent = Math.max(1, Math.round(performance.now() - message.t)) + " ms";
  }, (why) => {
    if (mine !== link) return;
    if (why) refusal = why;
    drop();
  }));
}
const connect = () => start(talk);

function drop(age = 0) {
  if (!link) return;
  const now = Date.now(), old = link, failed = !opened && !listening;
  if (opened) lostAt = now - age;
  // Events may work where POSTs fail, so the next wait is short only after a while.
  if (opened && now - triedAt > WAIT_MAX) attempts = 0;
  [link, opened] = [null, false];
  old.close();
  $("rtt").textContent = "";
  retryBy(now + wait(attempts++, Math.random()));
  if (failed && !left) askWhy();
  setTimeout(show, GRACE + 50);
  show();
}

function retryBy(at) {
  clearTimeout(retryTimer);
  retryAt = at;
  retryTimer = setTimeout(connect, at - Date.now());
}

// A browser does not tell why a socket failed. OPTIONS gets the error, or 204.
async function askWhy() {
  const { status, error, message } = await ask(url(), { method: "OPTIONS" });
  if (opened) return;
  const refused = error && error !== "stopping" && REFUSALS.includes(status);
  refusal = refused ? message : "";
  // The node answers, or a proxy that does not know OPTIONS. So no WebSocket comes through.
  if (!refused && status && status < 500) start(++blocked < BLOCKED_MAX ? talk : listen);
  show();
}

// Reconnects soon for a click.
export function hurry() {
  const at = Math.max(Date.now(), triedAt + HURRY);
  if (at < retryAt) retryBy(at);
}

function back() {
  [left, attempts] = [false, 0];
  if (Date.now() - heardAt > PING_EVERY * 2) drop();
  if (!opened) lostAt = Date.now() - GRACE;
  connect();
}

const ping = () => { if (!listening) send({ type: "ping", t: performance.now() }); };
setInterval(ping, PING_EVERY);
let tickedAt = Date.now();
setInterval(() => {
  const now = Date.now(), slept = now - tickedAt > SLEPT;
  tickedAt = now;
  if (askedAt && now - askedAt > ANSWER_MAX) drop(ANSWER_MAX);
  if (slept && !document.hidden) back();
}, 1000);

// A hidden tab closes its link after a while. A page that is left closes it at once, so that it no
// longer counts as a viewer.
let hiddenTimer = 0;
const part = () => { left = true; drop(); clearTimeout(retryTimer); };
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(part, HIDDEN_MAX);
  else back();
});
addEventListener("pagehide", () => { leave(); part(); });
addEventListener("pageshow", (event) => { if (event.persisted) back(); });
addEventListener("online", () => { attempts = 0; connect(); });
addEventListener("offline", () => drop());
