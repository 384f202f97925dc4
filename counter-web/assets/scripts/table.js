// The table of cities: clicks, shares, medals, viewers, last seen. It sorts by city, clicks or
// viewers. The details list the nodes and the clicks per second of each region.
import { $, flag, grouped, here, name, now, regions, show, silence, text } from "./model.js";

const RATE_OVER = 5000; // ms over which clicks per second are averaged
const LEADING = 10; // rows before "Show all", as in page/parts.rs
const BIG = 999999999n; // a larger number needs more room than a narrow table has
const MEDALS = ["🥇", "🥈", "🥉"];
const table = $("regions"), body = table.tBodies[0];
const rows = new Map([...body.rows].map((tr) => [tr.dataset.region, tr]));
const template = body.rows[0];
let order = { by: "value", down: true }, orderShown = "", asked = false, showsAll = false;

function row(code) {
  if (rows.has(code)) return rows.get(code);
  const made = template.cloneNode(true);
  made.dataset.region = code;
  made.cells[0].firstChild.data = `${flag(code)} ${name(code)} `;
  body.append(made);
  rows.set(code, made);
  return made;
}

export function forgetRow(code) {
  rows.get(code)?.remove();
  rows.delete(code);
}

function age(ms) {
  if (ms === null) return "–";
  if (ms < 5000) return "now";
  return ms < 120000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60000)} min`;
}
const sizeOf = (value) => (value < 0n ? -value : value);
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

// Draws every row. `extra`: clicks of this page that its node has not counted yet.
export function drawRows(extra) {
  const at = now(), shown = new Map();
  for (const [code, r] of regions) {
    while (r.ticks.length && at - r.ticks[0][0] > RATE_OVER) r.ticks.shift();
    const rate = (r.ticks.reduce((sum, tick) => sum + tick[1], 0) * 1000) / RATE_OVER;
    shown.set(code, { ...r, rate, value: r.value + (code === here ? extra : 0n) });
  }
  const sizes = [...shown.values()].map(({ value }) => sizeOf(value));
  const all = sizes.reduce((sum, size) => sum + size, 0n) || 1n;
  const byClicks = ([a, x], [b, y]) => compare(y.value, x.value) || compare(a, b);
  const leaders = [...shown].filter(([, { value }]) => value > 0n).sort(byClicks)
    .map(([code]) => code);
  for (const [code, r] of shown) {
    const tr = row(code), [head, value, bar, viewers, seen] = tr.cells;
    const rank = leaders.length > 1 ? leaders.indexOf(code) : -1;
    const percent = Number((sizeOf(r.value) * 1000n) / all) / 10;
    text(head.querySelector("i"), MEDALS[rank] ?? "");
    text(value, grouped(r.value));
    text(viewers, grouped(r.connected));
    text(seen, age(silence(code)));
    bar.firstChild.setAttribute("aria-label", `${Math.floor(percent)}%`);
    const fill = bar.querySelector("rect");
    fill.setAttribute("width", `${percent}%`);
    fill.setAttribute("class", r.value < 0n ? "minus" : "");
    tr.className = `${code === here ? "here" : ""} ${r.nodes === 0 ? "stale" : ""}`.trim();
  }
  sort(shown);
  const isMore = shown.size > LEADING;
  // A narrow table leaves out other columns for such numbers.
  table.classList.toggle("big", sizes.some((size) => size > BIG));
  table.classList.toggle("few", isMore && !showsAll);
  const toggle = showsAll ? `Show the leading ${LEADING}` : `Show all ${shown.size} cities`;
  text($("all"), isMore ? toggle : "");
  drawNodes(shown);
}

function sort(shown) {
  const sortedBy = (code) => (order.by === "city" ? name(code) : shown.get(code)[order.by]);
  const codes = [...shown.keys()].sort((a, b) => {
    const [x, y] = [sortedBy(a), sortedBy(b)];
    const ascending = typeof x === "string" ? x.localeCompare(y) : compare(x, y);
    return ascending * (order.down ? -1 : 1) || compare(a, b);
  });
  const key = codes.join();
  // Rows under the pointer stay in place, unless the user sorts.
  const mayMove = asked || !document.querySelector("#regions tbody:hover");
  asked = false;
  if (key === orderShown || !mayMove) return;
  orderShown = key;
  const drawn = [...body.rows].map((tr) => tr.dataset.region).join();
  if (drawn !== key) body.append(...codes.map((code) => rows.get(code)));
}

table.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
  const by = button.dataset.sort;
  order = { by, down: order.by === by ? !order.down : by !== "city" };
  for (const th of table.querySelectorAll("th[aria-sort]")) th.setAttribute("aria-sort", "none");
  button.parentElement.setAttribute("aria-sort", order.down ? "descending" : "ascending");
  asked = true;
  show();
}));
$("all").addEventListener("click", () => { showsAll = !showsAll; show(); });

// ---- the details ----

function drawNodes(shown) {
  if (!$("details").open) return;
  const cells = [...shown].sort(([a], [b]) => compare(a, b))
    .map(([code, { nodes, rate }]) => [code, nodes, rate ? grouped(rate.toFixed(1)) : "0"]);
  const key = JSON.stringify(cells), list = $("nodes");
  if (list.dataset.drawn === key) return;
  list.dataset.drawn = key;
  const made = (tag, textContent, more) =>
    Object.assign(document.createElement(tag), { textContent, ...more });
  const drawn = made("table", "", { ariaLabel: "Nodes and clicks per second of each region" });
  const heads = ["Region", "Nodes", "Clicks/s"].map((title) => made("th", title, { scope: "col" }));
  drawn.createTHead().insertRow().append(...heads);
  const rowsOf = drawn.createTBody();
  for (const [code, ...numbers] of cells) {
    const head = made("th", code, { scope: "row" });
    rowsOf.insertRow().append(head, ...numbers.map((number) => made("td", number)));
  }
  list.replaceChildren(drawn);
}
$("details").addEventListener("toggle", show);
