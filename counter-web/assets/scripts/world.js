// The map. Each region is a dot. Its area grows with the clicks of the region, and a ring spreads
// from it when they change. Clicks travel on paths between the dots.
import {
  $, grouped, here, inReach, isStill, known, moveOnce, name, place, regions, signed, svg, travel,
} from "./model.js";

const PULSES_MAX = 60, PARCELS_MAX = 150; // at a time
const TRAVEL = 900; // ms that a parcel takes
const LIFT = 0.18; // how far a path bends upwards, as a share of its length
const NAMED_MAX = 12; // with more regions, amounts would overlap
const dots = new Map([...$("dots").children].map((dot) => [dot.dataset.region, dot]));

export function pulse(code) {
  const dot = dots.get(code);
  if (!dot || isStill() || $("dots").querySelectorAll(".pulse").length > PULSES_MAX) return;
  const [cx, cy, r] = ["cx", "cy", "r"].map((attribute) => dot.getAttribute(attribute));
  const ring = svg("circle", { class: "pulse", cx, cy, r });
  $("dots").append(ring);
  const frames = { opacity: [0.9, 0], transform: ["none", "scale(4)"] };
  moveOnce(ring, frames, { duration: 900, easing: "ease-out" });
}

export function forgetDot(code) {
  dots.get(code)?.remove();
  dots.delete(code);
}

export function drawDots() {
  const greatest = [...regions.values()].reduce((most, r) => (r.value > most ? r.value : most), 1n);
  for (const [code, r] of regions) {
    const at = place(code);
    if (!at) continue;
    if (!dots.has(code)) {
      const made = svg("circle", { "data-region": code, cx: at.x, cy: at.y });
      dots.set(code, $("dots").appendChild(made));
    }
    const dot = dots.get(code), clicks = Number(r.value > 0n ? r.value : 0n);
    dot.setAttribute("r", (4 + 10 * Math.sqrt(clicks / Number(greatest))).toFixed(1));
    dot.setAttribute("class", (code === here ? "here" : "") + (r.nodes === 0 ? " stale" : ""));
    const title = dot.firstChild || dot.appendChild(svg("title", {}));
    title.textContent = name(code) + ": " + grouped(r.value);
  }
}

// ---- paths between regions ----

// The control point of a path: above the middle between its ends.
function above(from, to) {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  return { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 - LIFT * length };
}
let linksDrawn = "";

// Draws a line to each region that has a node, or had one that vanished. The class is `cut` if the
// node is out of reach, and `behind` if it has not confirmed a state of two seconds ago.
export function drawLinks() {
  const home = place(here), kinds = new Map();
  for (const member of known.members) {
    if (member.region === here || !place(member.region)) continue;
    const kind = known.isolated || !member.live ? "cut" : member.late ? "behind" : "";
    // The best node of a region decides. The classes happen to sort from good to bad.
    const best = kinds.get(member.region);
    if (best === undefined || best > kind) kinds.set(member.region, kind);
  }
  const drawn = JSON.stringify([...kinds]);
  if (!home || drawn === linksDrawn) return;
  linksDrawn = drawn;
  $("links").replaceChildren(...[...kinds].map(([code, kind]) => {
    const to = place(code), bend = above(home, to);
    const d = `M${home.x} ${home.y}Q${bend.x} ${bend.y} ${to.x} ${to.y}`;
    return svg("path", { class: kind, d });
  }));
}

// Draws clicks on their way, with the amount unless it is 0.
function parcel(from, to, amount) {
  if (!from || !to || isStill()) return;
  if ($("map").querySelectorAll(".parcel").length >= PARCELS_MAX) return;
  const made = svg("g", { class: "parcel" });
  made.append(svg("circle", { r: 5 }));
  if (amount) made.appendChild(svg("text", { y: -9 })).textContent = signed(amount);
  $("map").append(made);
  const bend = above(from, to);
  const on = (axis, t) =>
    (1 - t) ** 2 * from[axis] + 2 * t * (1 - t) * bend[axis] + t ** 2 * to[axis];
  travel(made, TRAVEL, (t) => ({ x: on("x", t), y: on("y", t) }));
}

export const flyIn = (code, amount) => parcel(place(code), place(here), amount);
export function flyOut(amount) {
  const reached = inReach(), shown = reached.length > NAMED_MAX ? 0 : amount;
  for (const code of reached) parcel(place(here), place(code), shown);
}
