// What the page says in words: total, title, status, who agrees, the partition switch, and what screen readers hear.
import { waitingCount } from "./clicks.js";
import { $, counter, here, known, name, outOfTouch } from "./model.js";
import { status } from "./socket.js";

const SETTLE = 8000; // ms in which every node has been heard of again after a change
const SAY_EVERY = 3000; // ms
const HEALED_FOR = 30000; // ms that the words after a heal stay

export const text = (node, value) => { if (node && node.textContent !== value) node.textContent = value; };
const clicks = (count) => (count === 1 ? "1 click" : count + " clicks");

export function drawWords(extra) {
  const total = (known.total + extra).toString();
  text($("total"), total);
  document.title = total + " " + counter + " · " + name(here);
  drawStatus();
  drawAgreement();
  drawSwitch();
}

function drawStatus() {
  const { state, words } = status(), count = waitingCount();
  $("status").dataset.state = state;
  text($("status").querySelector("span"), words + (count && words !== "live" ? " with " + clicks(count) + " waiting" : ""));
}

function drawAgreement() {
  const others = known.members.filter((member) => member.live && member.replica !== known.replica);
  const behind = others.filter((member) => member.lag_versions !== 0), lost = outOfTouch();
  const state = known.hash.slice(0, 4) + "…";
  // What a node said before the last change says nothing about it: for a moment all that is true is that it is asked.
  const asking = performance.now() - known.changedAt < SETTLE;
  const lag = (member) => name(member.region) + (member.lag_versions === null ? " not heard yet" : " " + member.lag_versions + " changes apart");
  let words, kind = "";
  if (known.isolated) [words, kind] = ["cut off, counting alone · state " + state, "apart"];
  else if (lost.length) [words, kind] = [lost.slice(0, 3).map(name).join(", ") + " out of touch · state " + state, "apart"];
  else if (!others.length) words = "alone · state " + state;
  else if (!behind.length) [words, kind] = ["all regions agree · " + state, "agree"];
  else if (asking) words = "hearing from " + behind.length + (behind.length === 1 ? " node" : " nodes") + " · state " + state;
  else words = behind.slice(0, 3).map(lag).join(", ") + " · state " + state;
  text($("hash"), words);
  $("hash").className = "hash " + kind;
}

// ---- the partition switch ----

let apart = null, healedAt = -Infinity, met = 0n; // while apart: what the other regions had counted when that began
const elsewhere = () => known.total - ownValue();
let ownValue = () => 0n;
export const ownValueWith = (f) => { ownValue = f; };

function drawSwitch() {
  if (!$("switch")) return;
  const city = name(here), lost = outOfTouch().map(name).join(", ");
  if (known.isolated && apart === null) apart = elsewhere();
  if (!known.isolated && apart !== null) [apart, healedAt, met] = [null, performance.now(), apart];
  let words = "One press cuts " + city + " off from all other nodes. Both sides count on, apart; heal, and the sums meet.";
  if (known.isolated) words = city + " is cut off. Click here, and on another region's page: the totals differ. Heal, and they meet.";
  else if (lost) words = lost + " is out of touch: it may be counting, and its clicks are added here once it is back.";
  else if (performance.now() - healedAt < HEALED_FOR) words = "Healed. Clicks that came from the others: " + (elsewhere() - met) + ".";
  text($("switch").querySelector("p"), words);
  const button = $("switch").querySelector("button");
  button.value = known.isolated ? "0" : "1";
  text(button, known.isolated ? "Heal" : "Cut " + city + " off");
  $("switch").classList.toggle("apart", known.isolated || lost !== "");
}

// ---- aloud, for screen readers, not more than once in three seconds; troubles are seen as well ----

let saidAt = 0, sayTimer = 0;
function aloud(words, seen) {
  clearTimeout(sayTimer);
  sayTimer = setTimeout(() => {
    saidAt = Date.now();
    text($("said"), words());
    $("said").classList.toggle("unseen", !seen);
  }, Math.max(0, SAY_EVERY - (Date.now() - saidAt)));
}
export const say = (words) => aloud(() => words, true);
export const sayTotal = () => aloud(() => "the total is " + $("total").textContent, false);
