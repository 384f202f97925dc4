// The map. Each region is a dot, whose area grows with its clicks, with a ring when they change.
// Clicks travel on paths between the dots.
import { $, grouped, here, isBehind, known, name, place, regions, signed } from "./model.js";

export const svg = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};
const PULSES_MAX = 60, PARCELS_MAX = 150;
const TRAVEL = 900; // ms
const LIFT = 0.18; // how far a path bends upwards, relative to its length
const still = matchMedia("(prefers-reduced-motion: reduce)");
const isStill = () => still.matches || document.hidden;
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
export function parcel(drawing, from, to, amount, lift = 0) {
  if (!from || !to || isStill() || drawing.querySelectorAll(".parcel").length >= PARCELS_MAX) return;
  const made = svg("g", { class: "parcel" });
  made.append(svg("circle", { r: 5 }));
  if (amount) made.appendChild(svg("text", { y: -9 })).textContent = signed(amount);
  drawing.append(made);
  const bend = over(from, to, lift), steps = lift ? 12 : 1;
  const on = (axis, t) => (1 - t) ** 2 * from[axis] + 2 * t * (1 - t) * bend[axis] + t ** 2 * to[axis];
  const way = Array.from({ length: steps + 1 }, (_, i) => ({ transform: `translate(${on("x", i / steps)}px,${on("y", i / steps)}px)` }));
  const gone = () => made.remove();
  made.animate(way, { duration: TRAVEL, easing: "ease-in-out" }).finished.then(gone, gone);
}

export const flyIn = (code, amount) => parcel($("map"), place(code), place(here), amount, LIFT);
// With more nodes, names and amounts would overlap.
export const NAMED_MAX = 12;
export function flyOut(amount) {
  const reached = new Set(known.members.filter((member) => member.live && member.region !== here).map((member) => member.region));
  if (!known.isolated) reached.forEach((code) => parcel($("map"), place(here), place(code), reached.size > NAMED_MAX ? 0 : amount, LIFT));
}
