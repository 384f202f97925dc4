// A link to one node by the client library, and its state in words. A page that is left, or hidden
// for long, closes its links, so that it is not counted as a viewer.
import { connect } from "./counter-client.js";
import { clicks, counter, show } from "./model.js";

// All in milliseconds.
const GRACE = 3000; // a shorter loss is not shown, so that a restart goes unnoticed
const OFFLINE_AFTER = 15000;
const ANSWER_MAX = 5000; // the client drops a link that is silent for longer
const HIDDEN_MAX = 300000, SLEPT = 10000;

const links = [];

// Undefined if the browser allows none. Clicks are then kept in memory.
function storage() {
  try { return localStorage; } catch { return undefined; }
}

// Opens a link to the node at `url`. `city()` is its name. `onview` gets each view of the client.
export function openLink(url, city, { total, onview, onlost, onping, onerror }) {
  let status = { state: "connecting" }, view = { total, ahead: 0, waiting: 0, unseen: 0 };
  let lostAt = Date.now(), failures = 0, left = false;
  const client = connect(url, {
    counter, total, storage: storage(), onerror, onping,
    onchange(news) {
      view = news;
      if (news.total !== undefined) onview(news);
    },
    onstatus(news) {
      if (status.state === "live" && news.state !== "live") {
        // A link that fell silent was lost when the node was last heard from.
        [lostAt, failures] = [Date.now() - (client.silence < ANSWER_MAX ? 0 : client.silence), 0];
      }
      if (news.state === "waiting") failures++;
      status = news;
      if (news.state !== "live") {
        onlost?.();
        setTimeout(show, GRACE + 50);
      }
      show();
    },
  });

  function state() {
    const lost = Date.now() - lostAt;
    if (status.state === "live") return "live";
    if (status.why) return "refused";
    if (navigator.onLine === false) return "offline";
    return lost < GRACE && failures < 2 ? "live" : lost > OFFLINE_AFTER ? "lost" : "waiting";
  }

  const link = {
    add: client.add,
    pause() { left = true; client.pause(); },
    resume() {
      // A loss while nobody looked is shown at once.
      if (left && status.state !== "live") [lostAt, failures] = [Date.now() - GRACE, 2];
      left = false;
      client.resume();
    },
    // Clicks that the node has not acknowledged.
    get waiting() { return view.waiting; },
    // {state, words, why}: `why` is the server's own sentence while it refuses.
    status() {
      const now = state(), isLive = now === "live", count = isLive ? view.unseen : view.waiting;
      const named = { live: "live", refused: "Refused", offline: "Offline" }[now];
      const words = named ?? `${city()} isn't responding`;
      const more = isLive ? `, ${clicks(count)} on the way` : `: ${clicks(count)} waiting to send`;
      const shown = isLive || now === "waiting" ? now : "offline";
      return { state: shown, words: words + (count ? more : ""), why: status.why };
    },
  };
  links.push(link);
  return link;
}

// ---- the life of the page ----

const all = (act) => () => links.forEach((link) => link[act]());
const pause = all("pause"), resume = all("resume");
let hiddenTimer = 0, tickedAt = Date.now();
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(pause, HIDDEN_MAX);
  else resume();
});
addEventListener("pagehide", pause);
addEventListener("pageshow", (event) => { if (event.persisted) resume(); });
setInterval(() => {
  const slept = Date.now() - tickedAt > SLEPT;
  tickedAt = Date.now();
  if (slept && !document.hidden) resume();
}, 1000);
