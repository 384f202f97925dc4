// The words of the page: total, title, status, confirmations, the partition switch, errors, and
// texts for screen readers.
import { unseenCount, waitingCount } from "./clicks.js";
import { $, counter, grouped, here, isFresh, known, name, outOfTouch, show, signed } from "./model.js";
import { status } from "./socket.js";

const SAY_EVERY = 3000; // ms
const HEALED_FOR = 30000; // ms to show the words after a heal
const TROUBLE_FOR = 8000; // ms to show an error

export const text = (node, value) => { if (node && node.textContent !== value) node.textContent = value; };
const clicks = (count) => (count === 1 ? "1 click" : grouped(count) + " clicks");

export function drawWords(extra) {
  const total = grouped(known.total + extra);
  text($("total"), total);
  $("total").className = "total " + (total.length < 8 ? "" : total.length < 12 ? "m" : total.length < 17 ? "s" : "xs");
  document.title = total + " " + counter.replace(/\p{Bidi_Control}/gu, "") + " · " + name(here);
  drawStatus();
  drawAgreement(extra);
  drawSwitch(extra);
}

let stateBefore = "";
function drawStatus() {
  const { state, words, why = "" } = status(), isLive = state === "live", count = isLive ? unseenCount() : waitingCount();
  const waiting = !count ? "" : isLive ? ", " + clicks(count) + " on the way" : " with " + clicks(count) + " waiting";
  $("status").dataset.state = state;
  text($("status").querySelector("span"), words + waiting);
  text($("trouble"), trouble || why);
  if (stateBefore && state !== stateBefore) aloud(() => $("status").textContent);
  stateBefore = state;
}

function drawAgreement(extra) {
  const others = known.members.filter((member) => member.live && member.replica !== known.replica);
  const late = others.filter((member) => member.late), lost = outOfTouch(), at = known.agreement;
  const state = known.hash.slice(0, 4) + "…";
  const waiting = at ? at.of - at.confirmed : others.length;
  let words, kind = "";
  if (known.isolated) [words, kind] = ["cut off, counting alone", "apart"];
  else if (!known.synced) [words, kind] = [(others.length ? "catching up" : "not in touch") + " with the other nodes", "apart"];
  else if (lost.length) [words, kind] = [lost.slice(0, 3).map(name).join(", ") + " out of touch", "apart"];
  else if (!others.length) words = "alone";
  else if (at && at.age_ms === 0 && isFresh() && !extra) [words, kind] = ["all regions agree", "agree"];
  else if (late.length) words = "not confirmed by " + late.slice(0, 3).map((member) => name(member.region)).join(", ");
  else if (at && at.age_ms !== null && waiting === at.of) words = "all regions agreed " + (at.age_ms / 1000).toFixed(1) + " s ago";
  else words = "waiting for " + waiting + " of " + (at ? at.of : others.length) + " to confirm";
  words += " · " + state;
  text($("hash"), words);
  $("hash").className = "hash " + kind;
}

// ---- the partition switch ----

// `apart` is set while this node is cut off: the counts of each side at the cut, if this page saw
// it. `healed` has them afterwards, and when the node was healed.
let apart = null, wasWhole = false, healed = null;
const elsewhere = () => known.total - ownValue();
let ownValue = () => 0n;
export const ownValueWith = (f) => { ownValue = f; };

function drawSwitch(extra) {
  if (!$("switch")) return;
  const city = name(here), lost = outOfTouch().map(name).join(", ");
  if (known.isolated) apart ||= wasWhole ? { own: ownValue(), others: elsewhere() } : {};
  else {
    if (apart) healed = { at: performance.now(), ...apart };
    [apart, wasWhole] = [null, true];
  }
  let words = "One press cuts " + city + " off from all other nodes. Both sides count on, apart; heal, and the sums meet.";
  if (apart) {
    apart.alone = apart.own === undefined ? 0n : ownValue() + extra - apart.own;
    words = city + " is cut off" + (apart.alone ? ", and no other node knows of " + signed(apart.alone) + " here" : "") +
      ". Click here, and on another region's page: the totals differ. Heal, and they meet.";
  } else if (lost) words = lost + " is out of touch: it may be counting, and its clicks are added here once it is back.";
  else if (healed && performance.now() - healed.at < HEALED_FOR) {
    words = "Healed, and the sums meet" + (healed.own === undefined ? "." : ": " + signed(healed.alone) + " went out from here, " +
      signed(elsewhere() - healed.others) + " came from the others.");
  }
  text($("switch").querySelector("p"), words);
  const button = $("switch").querySelector("button");
  button.value = known.isolated ? "0" : "1";
  text(button, known.isolated ? "Heal" : "Cut " + city + " off");
  $("switch").classList.toggle("apart", known.isolated || lost !== "");
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
