// The one socket of this page: opened again with growing, jittered waits, after sleep, and from the back-forward cache.
import { client } from "./clicks.js";
import { $, address, counter, show } from "./model.js";

// All in milliseconds.
const PING_EVERY = 5000, ANSWER_MAX = 5000, HIDDEN_MAX = 300000, GRACE = 1500, WAIT_MIN = 250, WAIT_MAX = 10000;
let socket = null, attempts = 0, retryTimer = 0, heardAt = 0, askedAt = 0, lostAt = Date.now(), opened = false, left = false;
let hear = () => {}, leave = () => {};

export const live = () => socket !== null && socket.readyState === WebSocket.OPEN && opened;
// Everything that is sent has an answer: silence after it is a loss. False where there is no socket to send it on.
export const send = (message) => {
  if (!live()) return false;
  askedAt ||= Date.now();
  socket.send(JSON.stringify(message));
  return true;
};

// Begins; `hearWith` takes each message, `leaveWith` is told when the page goes.
export function open(hearWith, leaveWith) {
  [hear, leave] = [hearWith, leaveWith];
  connect();
}

// The first message of a socket came: it lives.
export function isOpen() {
  [opened, attempts] = [true, 0];
  ping();
}

// {state, words}: live, also for a short while without a socket; then reconnecting; off line where that is known or goes on.
export function status() {
  if (live()) return { state: "live", words: "live" };
  const off = navigator.onLine === false || attempts > 4;
  if (off) return { state: "offline", words: "off line" };
  if (Date.now() - lostAt < GRACE && attempts < 2) return { state: "live", words: "live" };
  return { state: "waiting", words: "reconnecting" };
}

function connect() {
  clearTimeout(retryTimer);
  if (left || (socket && socket.readyState <= WebSocket.OPEN)) return;
  const url = address("ws?counter=" + encodeURIComponent(counter) + "&page=" + client);
  url.protocol = url.protocol.replace("http", "ws");
  const mine = (socket = new WebSocket(url));
  heardAt = askedAt = Date.now();
  mine.onmessage = (event) => {
    if (mine !== socket) return;
    [heardAt, askedAt] = [Date.now(), 0];
    const message = JSON.parse(event.data);
    if (message.type === "pong") $("rtt").textContent = Math.max(1, Math.round(performance.now() - message.t)) + " ms";
    else hear(message);
  };
  mine.onclose = () => { if (mine === socket) lost(); };
}

function lost(at = Date.now()) {
  if (opened) lostAt = at;
  opened = false;
  socket = null;
  $("rtt").textContent = "";
  retryTimer = setTimeout(connect, Math.min(WAIT_MAX, WAIT_MIN * 2 ** attempts++) * (0.5 + Math.random()));
  setTimeout(show, GRACE + 50);
  show();
}

function drop(at) {
  const old = socket;
  if (old) { lost(at); old.close(1000); }
}

function back() {
  [left, attempts] = [false, 0];
  if (socket && Date.now() - heardAt > PING_EVERY * 2) drop(heardAt);
  connect();
}

const ping = () => send({ type: "ping", t: performance.now() });
setInterval(ping, PING_EVERY);
setInterval(() => { if (socket && askedAt && Date.now() - askedAt > ANSWER_MAX) drop(heardAt); }, 1000);

// A hidden tab gives its place up after a while; a page that sleeps or is left closes at once, so that it is no ghost.
let hiddenTimer = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(() => { left = true; drop(); clearTimeout(retryTimer); }, HIDDEN_MAX);
  else back();
});
addEventListener("pagehide", () => {
  left = true;
  leave();
  const old = socket;
  [opened, socket] = [false, null];
  if (old) old.close(1000);
});
addEventListener("pageshow", (event) => { if (event.persisted) back(); });
addEventListener("online", () => { attempts = 0; connect(); });
addEventListener("offline", () => drop());
