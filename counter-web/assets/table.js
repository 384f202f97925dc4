// The table of regions: numbers, shares, clicks per second, last heard. Sorts by any column.
import { $, flag, grouped, heard, here, name, regions, show } from "./model.js";
import { text } from "./words.js";

const RATE_OVER = 5000; // ms over which clicks per second are averaged
const body = document.querySelector("#regions tbody");
const rows = new Map([...body.rows].map((tr) => [tr.dataset.region, tr]));
const template = body.rows[0];
let order = { by: "value", down: true }, orderShown = "", asked = false;

function row(code) {
  if (rows.has(code)) return rows.get(code);
  const made = template.cloneNode(true);
  made.dataset.region = code;
  const [head] = made.cells;
  head.firstChild.data = flag(code) + " " + name(code) + " ";
  head.querySelector("code").textContent = name(code) === code ? "" : code;
  body.append(made);
  rows.set(code, made);
  return made;
}

export function forgetRow(code) {
  if (rows.has(code)) rows.get(code).remove();
  rows.delete(code);
}

const age = (ms) => (ms === null ? "–" : ms < 2000 ? "now" : ms < 120000 ? Math.round(ms / 1000) + " s" : Math.round(ms / 60000) + " min");

// Draws every row. `extra`: clicks of this page that its node has not counted yet.
export function drawRows(extra) {
  const now = performance.now();
  const shown = new Map();
  for (const [code, r] of regions) {
    while (r.ticks.length && now - r.ticks[0][0] > RATE_OVER) r.ticks.shift();
    const rate = (r.ticks.reduce((sum, tick) => sum + tick[1], 0) * 1000) / RATE_OVER;
    shown.set(code, { ...r, rate, value: r.value + (code === here ? extra : 0n) });
  }
  const positive = [...shown.values()].reduce((sum, r) => sum + (r.value > 0n ? r.value : 0n), 0n) || 1n;
  for (const [code, r] of shown) {
    const tr = row(code);
    [grouped(r.value), null, grouped(r.connected), r.nodes, r.rate ? grouped(r.rate.toFixed(1)) : "0", age(heard(code))].forEach((value, at) => {
      if (value !== null) text(tr.cells[at + 1], String(value));
    });
    tr.querySelector("rect").setAttribute("width", (r.value > 0n ? Number((r.value * 1000n) / positive) / 10 : 0) + "%");
    tr.className = (code === here ? "here" : "") + (r.nodes === 0 ? " stale" : "");
  }
  sort(shown);
}

function sort(shown) {
  const codes = [...shown.keys()].sort((a, b) => {
    const [x, y] = order.by === "city" ? [name(a), name(b)] : [shown.get(a)[order.by], shown.get(b)[order.by]];
    return (typeof x === "string" ? x.localeCompare(y) : x < y ? -1 : x > y ? 1 : 0) * (order.down ? -1 : 1) || (a < b ? -1 : 1);
  });
  const key = codes.join();
  // Rows under the pointer stay in place, unless the user sorts.
  const may = asked || !document.querySelector("#regions tbody:hover");
  asked = false;
  if (key === orderShown || !may) return;
  orderShown = key;
  body.append(...codes.map((code) => rows.get(code)));
}

$("regions").querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
  const by = button.dataset.sort;
  order = { by, down: order.by === by ? !order.down : by !== "city" };
  $("regions").querySelectorAll("th[aria-sort]").forEach((th) => th.setAttribute("aria-sort", "none"));
  button.parentElement.setAttribute("aria-sort", order.down ? "descending" : "ascending");
  asked = true;
  show();
}));
