// The words of the page: title, status, agreement, errors, and texts for screen readers.
import { $, changes, counter, grouped, here, isFresh, known, name, outOfTouch, regionCount, show, text } from "./model.js";

const SAY_EVERY = 3000; // ms
const TROUBLE_FOR = 8000; // ms to show an error
const MOVED_FOR = 4000; // ms to show where clicks went

let stateBefore = "";
export function drawWords(status) {
  const title = `${grouped(known.total)} ${counter.replace(/\p{Bidi_Control}/gu, "")} · ${name(here)}`;
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
  const all = known.members.filter((member) => !member.left && member.replica !== known.replica);
  const others = all.filter((member) => member.live);
  const late = others.filter((member) => member.late), lost = outOfTouch(), at = known.agreement;
  if (!isLive) return ["Last known total", "apart"];
  if (known.isolated) return [`${name(here)} is disconnected`, "apart"];
  if (!known.synced) return [others.length ? "Catching up with the other regions" : "Not in touch with other regions", "apart"];
  if (lost.length) return [`Can't reach ${lost.slice(0, 3).map(name).join(", ")}`, "apart"];
  if (!known.lookedAt) return ["Asking other regions", ""];
  if (!all.length) return ["No other region yet", ""];
  if (!others.length) return [`Waiting for ${regionCount(all.length)} to confirm`, ""];
  if (at.age_ms === 0 && isFresh() && !known.ahead) return ["All regions agree", "agree"];
  const behind = late.find((member) => member.lag_versions);
  if (behind) return [`${name(behind.region)} is ${changes(behind.lag_versions)} behind`, ""];
  if (late.length) return [`Waiting for ${late.slice(0, 3).map((member) => name(member.region)).join(", ")} to confirm`, ""];
  // After a change, nobody has confirmed until the next status.
  const waiting = isFresh() && at.age_ms !== 0 ? Math.max(1, at.of - at.confirmed) : at.of || others.length;
  return [`Waiting for ${regionCount(waiting)} to confirm`, ""];
}

// Where clicks went, or came from, for a short while.
let movedTimer = 0;
export function moved(words) {
  clearTimeout(movedTimer);
  text($("moved"), words);
  movedTimer = setTimeout(() => text($("moved"), ""), MOVED_FOR);
}

// ---- errors, and other texts for screen readers, at most every three seconds ----

let trouble = "", troubleTimer = 0, saidAt = 0, sayTimer = 0;
export function say(words) {
  clearTimeout(troubleTimer);
  trouble = words;
  troubleTimer = setTimeout(() => { trouble = ""; show(); }, TROUBLE_FOR);
  show();
}
function aloud(words) {
  clearTimeout(sayTimer);
  sayTimer = setTimeout(() => {
    saidAt = Date.now();
    text($("said"), words());
  }, Math.max(0, SAY_EVERY - (Date.now() - saidAt)));
}
export const sayTotal = () => aloud(() => (stateBefore === "live" ? "" : $("status").textContent + ", ") + "the total is " + $("total").textContent);

// ---- the share button ----

const SHARED_FOR = 2500; // ms
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
