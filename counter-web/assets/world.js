// The map: a dot a region, its area by its clicks, with a ring that spreads when they change.
import { $, here, name, place, regions } from "./model.js";

export const svg = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};
const PULSES_MAX = 60;
const still = matchMedia("(prefers-reduced-motion: reduce)");
export const isStill = () => still.matches || document.hidden;
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
    title.textContent = name(code) + ": " + r.value;
  }
}
