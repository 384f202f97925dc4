// The words of the page: title, status, agreement, errors, and texts for screen readers.
import {
  $, changes, counter, grouped, here, isFresh, known, name, outOfTouch, regionCount, show, text,
} from "./model.js";

// All in milliseconds.
const SAY_EVERY = 3000; // between two texts for screen readers
const TROUBLE_FOR = 8000, MOVED_FOR = 4000, SHARED_FOR = 2500; // how long these words stay

let stateBefore = "";
export function drawWords(status) {
  const shownName = counter.replace(/\p{Bidi_Control}/gu, "");
  const title = `${grouped(known.total)} ${shownName} · ${name(here)}`;
  if (document.title !== title) document.title = title;
  $("status").dataset.state = status.state;
  text($("status").querySelector("span"), status.words);
  text($("trouble"), trouble || status.why || "");
  if (stateBefore && status.state !== stateBefore) aloud(() => $("status").textContent);
  stateBefore = status.state;
  const [words, kind] = agreement(status.state === "live");
  text($("agreement"), words);
  $("agreement").className = `agreement ${kind}`;
  text($("hash"), known.hash.slice(0, 8));
}

// How far the other regions confirm this node's state.
function agreement(isLive) {
  const all = known.members.filter(({ replica }) => replica !== known.replica);
  const others = all.filter(({ live }) => live);
  const late = others.filter(({ late }) => late), lost = outOfTouch(), at = known.agreement;
  const names = (codes) => codes.slice(0, 3).map(name).join(", ");
  if (!isLive) return ["Last known total", "apart"];
  if (known.isolated) return [`${name(here)} is disconnected`, "apart"];
  if (!known.synced) {
    const doing = others.length ? "Catching up with the" : "Not in touch with";
    return [`${doing} other regions`, "apart"];
  }
  if (lost.length) return [`Can't reach ${names(lost)}`, "apart"];
  if (!known.lookedAt) return ["Asking other regions", ""];
  if (!all.length) return ["No other region yet", ""];
  if (!others.length) return [`Waiting for ${regionCount(all.length)} to confirm`, ""];
  if (at.age_ms === 0 && isFresh() && !known.ahead) return ["All regions agree", "agree"];
  const behind = late.find((member) => member.lag_versions);
  if (behind) return [`${name(behind.region)} is ${changes(behind.lag_versions)} behind`, ""];
  if (late.length) return [`Waiting for ${names(late.map(({ region }) => region))} to confirm`, ""];
  // After a change, nobody has confirmed until the next status.
  const isCounted = isFresh() && at.age_ms !== 0;
  const waiting = isCounted ? Math.max(1, at.of - at.confirmed) : at.of || others.length;
  return [`Waiting for ${regionCount(waiting)} to confirm`, ""];
}

// Shows for a short while where clicks went or came from.
let movedTimer = 0;
export function moved(words) {
  clearTimeout(movedTimer);
  text($("moved"), words);
  movedTimer = setTimeout(() => text($("moved"), ""), MOVED_FOR);
}

// ---- errors, and texts for screen readers ----

let trouble = "", troubleTimer = 0, saidAt = 0, sayTimer = 0;
export function say(words) {
  clearTimeout(troubleTimer);
  trouble = words;
  troubleTimer = setTimeout(() => { trouble = ""; show(); }, TROUBLE_FOR);
  show();
}
// Lets screen readers say the words. Waits if others were said a moment ago.
function aloud(words) {
  clearTimeout(sayTimer);
  sayTimer = setTimeout(() => {
    saidAt = Date.now();
    text($("said"), words());
  }, Math.max(0, SAY_EVERY - (Date.now() - saidAt)));
}
export const sayTotal = () => aloud(() => {
  const status = stateBefore === "live" ? "" : `${$("status").textContent}, `;
  return `${status}the total is ${$("total").textContent}`;
});

// ---- the share button ----

$("share").addEventListener("click", async () => {
  const { href } = location, { title } = document;
  let done = "Link copied";
  try {
    if (navigator.share) { await navigator.share({ title, url: href }); return; }
    await navigator.clipboard.writeText(href);
  } catch (error) {
    if (error.name === "AbortError") return;
    done = "Copy the address";
  }
  text($("share"), done);
  text($("said"), done);
  setTimeout(() => text($("share"), "Share"), SHARED_FOR);
});
