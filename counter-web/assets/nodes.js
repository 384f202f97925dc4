// The drawing of the nodes: who is there, who is behind or cut off, and what just travelled between them.
import { $, here, known, name } from "./model.js";
import { text } from "./words.js";
import { isStill, svg } from "./world.js";

const NODES_MAX = 24;
const PARCELS_MAX = 40;
const TRAVEL = 900; // ms
let drawnAs = "", places = []; // {region, home, x, y, live}

export function drawNodes() {
  const nodes = known.members.filter((member) => !member.left).slice(0, NODES_MAX);
  const key = JSON.stringify([known.isolated, nodes.map((member) => [member.replica, member.region, member.live, member.lag_versions === 0])]);
  if (key === drawnAs) return;
  drawnAs = key;
  places = nodes.map((member, i) => {
    const turn = (2 * Math.PI * i) / nodes.length - Math.PI / 2;
    const home = member.replica === known.replica;
    const reached = home || (member.live && !known.isolated);
    return { region: member.region, home, reached, behind: member.lag_versions !== 0, x: 200 + 130 * Math.cos(turn), y: 100 + 70 * Math.sin(turn) };
  });
  const home = places.find((node) => node.home);
  const parts = [];
  if (home) {
    places.filter((node) => !node.home).forEach((node) => {
      parts.push(svg("line", { x1: home.x, y1: home.y, x2: node.x, y2: node.y, class: !node.reached ? "cut" : node.behind ? "behind" : "" }));
    });
  }
  places.forEach((node) => {
    const label = svg("text", { x: node.x, y: node.y < 100 ? node.y - 16 : node.y + 24 });
    label.textContent = name(node.region) + (node.home ? " (this node)" : "");
    parts.push(svg("circle", { cx: node.x, cy: node.y, r: node.home ? 11 : 8, class: node.reached ? "" : "gone" }), label);
  });
  $("ring").replaceChildren(...parts);
}

const signed = (amount) => (amount < 0 ? "−" + String(amount).slice(1) : "+" + amount);

// Clicks of another region came in.
export function arrived(code, amount) {
  const home = places.find((node) => node.home);
  text($("travelled"), signed(amount) + " came from " + name(code));
  places.filter((node) => node.region === code && !node.home).slice(0, 1).forEach((from) => parcel(from, home, amount));
}

// Clicks of this node went out to all that it reaches.
export function departed(amount) {
  const home = places.find((node) => node.home);
  const others = places.filter((node) => !node.home && node.reached);
  text($("travelled"), signed(amount) + (others.length ? " went from " + name(here) + " to " + others.length + (others.length === 1 ? " node" : " nodes") : " stays at this node"));
  others.forEach((to) => parcel(home, to, amount));
}

function parcel(from, to, amount) {
  if (!from || !to || isStill() || $("ring").querySelectorAll(".parcel").length >= PARCELS_MAX) return;
  const label = svg("text", { y: -9 });
  label.textContent = signed(amount);
  const made = svg("g", { class: "parcel" });
  made.append(svg("circle", { r: 5 }), label);
  $("ring").append(made);
  const at = (node) => ({ transform: "translate(" + node.x + "px," + node.y + "px)" });
  const gone = () => made.remove();
  made.animate([at(from), at(to)], { duration: TRAVEL, easing: "ease-in-out" }).finished.then(gone, gone);
}
