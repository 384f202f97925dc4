// The map. Each region is a dot, whose area grows with its clicks, with a ring when they change.
// Clicks travel on paths between the dots.
import { $, grouped, here, inReach, isBehind, isStill, known, name, place, regions, signed } from "./model.js";

const svg = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};
const PULSES_MAX = 60, PARCELS_MAX = 150;
const TRAVEL = 900; // ms
const STEPS = 12; // of a path
const LIFT = 0.18; // how far a path bends upwards, relative to its length
const NAMED_MAX = 12; // with more regions, amounts would overlap
const dots = new Map([...document.querySelectorAll("#dots circle")].map((dot) => [dot.dataset.region, dot]));

export function pulse(code) {
  const dot = dots.get(code);
  if (!dot || isStill() || $("dots").querySelectorAll(".pulse").length > PULSES_MAX) return;
  const ring = svg("circle", { class: "pulse", cx: dot.getAttribute("cx"), cy: dot.getAttribute("cy"), r: dot.getAttribute("r") });
  ring.addEventListener("animationend", () => ring.remove());
  $("dots").append(ring);
}

export function forgetDot(code) {
  if (dots.has(code)) dots.get(code).remove();
  dots.delete(code);
}

export function drawDots() {
  const greatest = [...regions.values()].reduce((most, r) => (r.value > most ? r.value : most), 1n);
  for (const [code, r] of regions) {
    const at = place(code);
    if (!at) continue;
    if (!dots.has(code)) dots.set(code, $("dots").appendChild(svg("circle", { "data-region": code, cx: at.x, cy: at.y })));
    const dot = dots.get(code);
    dot.setAttribute("r", (4 + 10 * Math.sqrt(Number(r.value > 0n ? r.value : 0n) / Number(greatest))).toFixed(1));
    dot.setAttribute("class", (code === here ? "here" : "") + (r.nodes === 0 ? " stale" : ""));
    const title = dot.firstChild || dot.appendChild(svg("title", {}));
    title.textContent = name(code) + ": " + grouped(r.value);
  }
}

// ---- paths between regions ----

// The control point of a path.
const over = (from, to, lift) => ({ x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 - lift * Math.hypot(to.x - from.x, to.y - from.y) });
let linksDrawn = "";

// Draws a line to each region that has a node, or had one that vanished. Classes: `cut` is out of
// reach, `behind` is not caught up.
export function drawLinks() {
  const home = place(here), kinds = new Map();
  for (const member of known.members) {
    if (member.left || member.region === here || !place(member.region)) continue;
    const kind = known.isolated || !member.live ? "cut" : isBehind(member) ? "behind" : "";
    // A region counts as its best node. The words sort from good to bad.
    if (!kinds.has(member.region) || kinds.get(member.region) > kind) kinds.set(member.region, kind);
  }
  const drawn = JSON.stringify([...kinds]);
  if (!home || drawn === linksDrawn) return;
  linksDrawn = drawn;
  $("links").replaceChildren(...[...kinds].map(([code, kind]) => {
    const to = place(code), bend = over(home, to, LIFT);
    return svg("path", { class: kind, d: `M${home.x} ${home.y}Q${bend.x} ${bend.y} ${to.x} ${to.y}` });
  }));
}

// Draws clicks on their way, with the amount if there is room.
function parcel(from, to, amount) {
  if (!from || !to || isStill() || $("map").querySelectorAll(".parcel").length >= PARCELS_MAX) return;
  const made = svg("g", { class: "parcel" });
  made.append(svg("circle", { r: 5 }));
  if (amount) made.appendChild(svg("text", { y: -9 })).textContent = signed(amount);
  $("map").append(made);
  const bend = over(from, to, LIFT);
  const on = (axis, t) => (1 - t) ** 2 * from[axis] + 2 * t * (1 - t) * bend[axis] + t ** 2 * to[axis];
  const way = Array.from({ length: STEPS + 1 }, (_, i) => ({ transform: `translate(${on("x", i / STEPS)}px,${on("y", i / STEPS)}px)` }));
  const gone = () => made.remove();
  made.animate(way, { duration: TRAVEL, easing: "ease-in-out" }).finished.then(gone, gone);
}

export const flyIn = (code, amount) => parcel(place(code), place(here), amount);
export function flyOut(amount) {
  const reached = inReach();
  reached.forEach((code) => parcel(place(here), place(code), reached.length > NAMED_MAX ? 0 : amount));
}
