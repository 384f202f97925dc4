// The table of cities: clicks, shares, medals, viewers, last seen. Sorts by most columns. The
// details list the nodes and the clicks per second of each region.
import { $, flag, grouped, heard, here, name, regions, show, text } from "./model.js";

const RATE_OVER = 5000; // ms over which clicks per second are averaged
const LEADING = 10; // rows before "Show all"
const BIG = 999999999n;
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
  if (rows.has(code)) rows.get(code).remove();
  rows.delete(code);
}

const age = (ms) => (ms === null ? "–" : ms < 5000 ? "now" : ms < 120000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60000)} min`);
const sizeOf = (value) => (value < 0n ? -value : value);

// Draws every row. `extra`: clicks of this page that its node has not counted yet.
export function drawRows(extra) {
  const now = performance.now(), shown = new Map();
  for (const [code, r] of regions) {
    while (r.ticks.length && now - r.ticks[0][0] > RATE_OVER) r.ticks.shift();
    const rate = (r.ticks.reduce((sum, tick) => sum + tick[1], 0) * 1000) / RATE_OVER;
    shown.set(code, { ...r, rate, value: r.value + (code === here ? extra : 0n) });
  }
  const sizes = [...shown.values()].reduce((sum, { value }) => sum + sizeOf(value), 0n) || 1n;
  const leaders = [...shown].filter(([, { value }]) => value > 0n)
    .sort(([a, x], [b, y]) => (x.value === y.value ? (a < b ? -1 : 1) : x.value > y.value ? -1 : 1)).map(([code]) => code);
  for (const [code, r] of shown) {
    const tr = row(code), [head, value, bar, viewers, seen] = tr.cells;
    const rank = leaders.length > 1 ? leaders.indexOf(code) : -1, percent = Number((sizeOf(r.value) * 1000n) / sizes) / 10;
    text(head.querySelector("i"), MEDALS[rank] ?? "");
    text(value, grouped(r.value));
    text(viewers, grouped(r.connected));
    text(seen, age(heard(code)));
    bar.firstChild.setAttribute("aria-label", `${Math.floor(percent)}%`);
    const fill = bar.querySelector("rect");
    fill.setAttribute("width", `${percent}%`);
    fill.setAttribute("class", r.value < 0n ? "minus" : "");
    tr.className = `${code === here ? "here" : ""} ${r.nodes === 0 ? "stale" : ""}`.trim();
  }
  sort(shown);
  const isMore = shown.size > LEADING;
  // A narrow table leaves out other columns for such numbers.
  table.classList.toggle("big", [...shown.values()].some(({ value }) => sizeOf(value) > BIG));
  table.classList.toggle("few", isMore && !showsAll);
  text($("all"), !isMore ? "" : showsAll ? `Show the leading ${LEADING}` : `Show all ${shown.size} cities`);
  drawNodes(shown);
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
  if ([...body.rows].map((tr) => tr.dataset.region).join() !== key) body.append(...codes.map((code) => rows.get(code)));
}

table.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
  const by = button.dataset.sort;
  order = { by, down: order.by === by ? !order.down : by !== "city" };
  table.querySelectorAll("th[aria-sort]").forEach((th) => th.setAttribute("aria-sort", "none"));
  button.parentElement.setAttribute("aria-sort", order.down ? "descending" : "ascending");
  asked = true;
  show();
}));
$("all").addEventListener("click", () => { showsAll = !showsAll; show(); });

// ---- the details ----

function drawNodes(shown) {
  if (!$("details").open) return;
  const cells = [...shown].sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([code, { nodes, rate }]) => [code, nodes, rate ? grouped(rate.toFixed(1)) : "0"]);
  const key = JSON.stringify(cells), list = $("nodes");
  if (list.dataset.drawn === key) return;
  list.dataset.drawn = key;
  const made = (tag, content, more) => Object.assign(document.createElement(tag), { textContent: content, ...more });
  const drawn = made("table", "", { ariaLabel: "Nodes and clicks per second of each region" });
  drawn.createTHead().insertRow().append(...["Region", "Nodes", "Clicks/s"].map((title) => made("th", title, { scope: "col" })));
  const rowsOf = drawn.createTBody();
  for (const [code, ...numbers] of cells) {
    rowsOf.insertRow().append(made("th", code, { scope: "row" }), ...numbers.map((number) => made("td", number)));
  }
  list.replaceChildren(drawn);
}
$("details").addEventListener("toggle", show);
