// The totals of the hero's cities over the last minute, as two lines. They part while a city is
// disconnected, and meet again.
import { $, isStill, now } from "./model.js";

const HISTORY_MIN = 5000, HISTORY_MAX = 60000; // ms
const WIDTH = 600, HEIGHT = 60, MARGIN = 6;
const STEP = 100; // ms between drawings; with reduced motion it is a second
const lines = [[], []]; // [ms, total] of this city, and of the other

const born = now();
export function record(city, total) {
  const line = lines[city];
  if (line.at(-1)?.[1] !== total) line.push([now(), total]);
}

let drawnAt = -Infinity;
function draw() {
  const end = now(), history = Math.min(HISTORY_MAX, Math.max(HISTORY_MIN, end - born));
  const start = end - history;
  if (document.hidden || end - drawnAt < (isStill() ? 1000 : STEP)) return;
  drawnAt = end;
  for (const line of lines) while (line.length > 1 && line[1][0] < start) line.shift();
  const totals = lines.flat().map(([, total]) => total);
  const low = totals.reduce((a, b) => (a < b ? a : b));
  const high = totals.reduce((a, b) => (a > b ? a : b));
  const x = (at) => Math.max(0, ((at - start) / history) * WIDTH).toFixed(1);
  const share = (total) => (low === high ? 0 : Number(total - low) / Number(high - low));
  const bottom = HEIGHT - MARGIN * (low === high ? 2 : 1);
  const y = (total) => (bottom - (HEIGHT - 2 * MARGIN) * share(total)).toFixed(1);
  const [away, home] = $("spark").children;
  [home, away].forEach((node, city) => {
    const line = lines[city], points = line.flatMap(([at, total], i) => {
      const next = line[i + 1]?.[0] ?? end;
      return [`${x(at)},${y(total)}`, `${x(next)},${y(total)}`];
    });
    node.setAttribute("points", points.join(" "));
  });
}
setInterval(draw, STEP);
