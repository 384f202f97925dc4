// The drawing of the nodes: live, behind or cut off, and the clicks that travel between them.
import { $, grouped, here, isBehind, known, name, signed } from "./model.js";
import { text } from "./words.js";
import { flyIn, flyOut, NAMED_MAX, parcel, svg } from "./world.js";

const NODES_MAX = 48;
const LABEL_MAX = 14; // characters
// The least angle, in radians, on both sides of this node at the foot of the ring, for its name.
const GAP = 0.5;
let drawnAs = "", places = []; // {region, home, reached, behind, turn, x, y}

const on = (turn, out) => ({ x: 200 + (135 + out) * Math.cos(turn), y: 112 + (82 + out) * Math.sin(turn) });

// The place of a node's name: above or below it. With many nodes: small, outside the ring.
function named({ turn, home, x, y }, many) {
  if (home) return { x, y: y + 29, "text-anchor": "middle" };
  if (!many) return { x, y: y + (Math.sin(turn) < 0 ? -14 : 24), "text-anchor": "middle" };
  const at = on(turn, 10), side = Math.cos(turn);
  return { x: at.x, y: at.y + 3, class: "many", "text-anchor": side > 0.25 ? "start" : side < -0.25 ? "end" : "middle" };
}

export function drawNodes() {
  const all = known.members.filter((member) => !member.left);
  // This node is at the foot of the ring. The others follow by region.
  const isHome = (member) => member.replica === known.replica;
  const nodes = all.sort((a, b) => isHome(b) - isHome(a) || (a.region < b.region ? -1 : a.region > b.region ? 1 : a.replica < b.replica ? -1 : 1)).slice(0, NODES_MAX);
  const key = JSON.stringify([known.isolated, all.length, nodes.map((member) => [member.replica, name(member.region), member.live, isBehind(member)])]);
  if (key === drawnAs) return;
  drawnAs = key;
  const many = nodes.length > NAMED_MAX, gap = Math.max(GAP, (2 * Math.PI) / nodes.length);
  places = nodes.map((member, i) => {
    const home = isHome(member), reached = home || (member.live && !known.isolated);
    const turn = Math.PI / 2 + (home ? 0 : gap + (2 * (Math.PI - gap) * (i - 1)) / Math.max(1, nodes.length - 2));
    return { region: member.region, home, reached, behind: isBehind(member), turn, ...on(turn, 0) };
  });
  const home = places.find((node) => node.home), parts = [];
  if (home) {
    places.filter((node) => !node.home).forEach((node) => {
      parts.push(svg("line", { x1: home.x, y1: home.y, x2: node.x, y2: node.y, class: !node.reached ? "cut" : node.behind ? "behind" : "" }));
    });
  }
  places.forEach((node) => {
    const label = svg("text", named(node, many));
    const words = many && !node.home ? node.region : name(node.region);
    label.textContent = (words.length > LABEL_MAX ? words.slice(0, LABEL_MAX - 1) + "…" : words) + (node.home ? " (this node)" : "");
    parts.push(svg("circle", { cx: node.x, cy: node.y, r: node.home ? 11 : many ? 4.5 : 8, class: node.reached ? "" : "gone" }), label);
  });
  if (all.length > nodes.length) {
    const rest = svg("text", { x: 200, y: 100, "text-anchor": "middle" });
    rest.textContent = "and " + (all.length - nodes.length) + " more";
    parts.push(rest);
  }
  $("ring").replaceChildren(...parts);
}

function moved(words) {
  text($("moved"), words);
  text($("travelled"), words);
}

// Clicks of another region arrived.
export function arrived(code, amount) {
  moved(signed(amount) + " came from " + name(code));
  flyIn(code, amount);
  parcel($("ring"), places.find((node) => node.region === code && !node.home), places.find((node) => node.home), amount);
}

// Clicks of this node went to all nodes in reach.
export function departed(amount) {
  const others = places.filter((node) => !node.home && node.reached);
  moved(signed(amount) + (others.length ? " went from " + name(here) + " to " + grouped(others.length) + (others.length === 1 ? " node" : " nodes") : " stays at this node"));
  flyOut(amount);
  others.forEach((to) => parcel($("ring"), places.find((node) => node.home), to, others.length > NAMED_MAX ? 0 : amount));
}

moved("Click, and watch it travel.");
