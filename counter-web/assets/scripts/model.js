// The state of the page: the counter, its regions and their places, the nodes.

export const $ = (id) => document.getElementById(id);
export const boot = JSON.parse($("state").textContent);
export const { counter, region: here, other } = boot;
// An address of this deployment, which may lie below a path.
export const address = (path) => new URL(boot.root + path, document.baseURI);
export const now = () => performance.now();
export const known = {
  total: BigInt(boot.total), // as the page shows it
  ahead: 0n, // the part of it that is not in the node's number yet
  hash: boot.state_hash,
  replica: boot.replica, // of the node that serves this page
  isolated: boot.isolated, // cut off from the others on purpose
  synced: boot.synced, // this node has caught up with the others
  changedAt: -Infinity, // when the state hash changed last
  members: [], // the nodes that have not left, as this one sees them
  agreement: null, // how far they have confirmed this node's state
  lookedAt: 0, // when the status came
  askedAt: 0, // when it was asked for
};
export const regions = new Map(); // code -> {value, connected, nodes, ticks}
const places = {}; // code -> {city, flag, x, y}

export const place = (code) => places[code];
export const name = (code) => places[code]?.city ?? code;
export const flag = (code) => places[code]?.flag ?? "📍";

// ---- numbers and words ----

// Groups digits in threes from five digits on, with a real minus sign, like the server.
export const grouped = (number) => String(number).replace("-", "−")
  .replace(/\d{5,}/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ","));
export const signed = (amount) => (amount < 0 ? "" : "+") + grouped(amount);
const counted = (count, thing) =>
  (String(count) === "1" ? `1 ${thing}` : `${grouped(count)} ${thing}s`);
export const clicks = (count) => counted(count, "click");
export const regionCount = (count) => counted(count, "region");
export const changes = (count) => counted(count, "change");
export const text = (node, value) => {
  if (node && node.textContent !== value) node.textContent = value;
};

// ---- elements that move ----

const still = matchMedia("(prefers-reduced-motion: reduce)");
export const isStill = () => still.matches || document.hidden;
export function svg(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
// Moves an element through these frames, and then removes it.
export function moveOnce(node, frames, timing) {
  const gone = () => node.remove();
  node.animate(frames, timing).finished.then(gone, gone);
}
const STEPS = 12; // straight pieces of a path
// Moves an element along a path in `duration` ms. `at` maps 0 to 1 to the points of the path.
export function travel(node, duration, at) {
  const way = Array.from({ length: STEPS + 1 }, (_, step) => {
    const { x, y } = at(step / STEPS);
    return { transform: `translate(${x}px, ${y}px)` };
  });
  moveOnce(node, way, { duration, easing: "ease-in-out" });
}

// The HTML has the first state.
document.querySelectorAll("#regions tbody tr").forEach(({ dataset, cells, classList }) => {
  const number = (cell) => cell.textContent.replaceAll(",", "").replace("−", "-");
  const [value, connected] = [number(cells[1]), number(cells[3])];
  const nodes = classList.contains("stale") ? 0 : 1; // until the node says how many
  regions.set(dataset.region, { value: BigInt(value), connected: +connected, nodes, ticks: [] });
});

// ---- drawing, at most once a frame ----

let draw = () => {}, queued = false;
export const drawWith = (f) => { draw = f; };
export function show() {
  if (queued) return;
  queued = true;
  const drawNow = () => { queued = false; draw(); };
  // A hidden tab draws no frames, but has a title.
  if (document.hidden) setTimeout(drawNow, 500); else requestAnimationFrame(drawNow);
}
document.addEventListener("visibilitychange", () => { queued = false; show(); });

// ---- news of the node ----

// Takes a view of the client. Calls `gained` with the growth of each region, and `forget` for each
// region that is gone.
export function take(view, gained, forget) {
  [known.total, known.ahead] = [BigInt(view.total), BigInt(view.ahead)];
  if (!view.hash) return; // the node has sent no state yet
  known.synced = view.synced;
  if (known.hash !== view.hash) {
    known.hash = view.hash;
    known.changedAt = now();
    lookSoon();
  }
  for (const code of regions.keys()) {
    if (code in view.regions) continue;
    regions.delete(code);
    forget(code);
  }
  for (const [code, { value, connected, nodes }] of Object.entries(view.regions)) {
    const old = regions.get(code) || { value: BigInt(value), ticks: [] };
    const more = BigInt(value) - old.value;
    if (more !== 0n) {
      old.ticks.push([now(), Math.abs(Number(more))]);
      gained(code, more);
    }
    regions.set(code, { value: BigInt(value), connected, nodes, ticks: old.ticks });
  }
}

const LOOK_EVERY = 3000; // ms
let looking = false, lookTimer = 0;
const lookSoon = () => { if (!lookTimer) lookTimer = setTimeout(look, 400); };

// Reads the node's status, after changes and at intervals.
export async function look() {
  clearTimeout(lookTimer);
  lookTimer = 0;
  if (looking || document.hidden) return;
  looking = true;
  const askedAt = now();
  try {
    const answer = await fetch(address("api/status"));
    const { members, agreement, isolated, replica } = await answer.json();
    Object.assign(known, { agreement, isolated, replica, askedAt, lookedAt: now() });
    known.members = members.filter((member) => !member.left);
  } catch { /* the status line shows that the node is gone */ }
  looking = false;
  if (known.agreement?.of && known.agreement.age_ms !== 0) lookSoon();
  show();
}
setInterval(look, LOOK_EVERY);

// The time since a node of the region was last heard from, in ms. Null if none is known.
export function silence(code) {
  const nodes = known.members.filter(({ region }) => region === code);
  if (!nodes.length) return null;
  const least = Math.min(...nodes.map((node) => node.last_heard_ms));
  return code === here && least === 0 ? 0 : least + now() - known.lookedAt;
}

// True if the status is newer than the last change.
export const isFresh = () => known.askedAt > known.changedAt;

const regionsOf = (members) => [...new Set(members.map(({ region }) => region))];

// Regions whose nodes fell silent without announcing it.
export const outOfTouch = () => regionsOf(known.members.filter((member) =>
  !member.live && !regions.get(member.region)?.nodes));

// The other regions that this node reaches.
export const inReach = () => regionsOf(known.members.filter((member) =>
  !known.isolated && member.live && member.region !== here));

// A letter of a flag.
const letter = (c) => String.fromCodePoint(0x1f1e6 + c.charCodeAt(0) - 65);

// Reads the table of places. Without it, the page shows new regions by their codes.
async function loadPlaces() {
  const table = await (await fetch(new URL("regions.csv", import.meta.url))).text();
  for (const line of table.split("\n").slice(1)) {
    const [code, city, country, lat, lon] = line.split(",");
    if (!lon) continue;
    const [x, y] = [((+lon + 180) / 360) * 1000, ((90 - lat) / 180) * 500];
    places[code] = { city, flag: [...country].map(letter).join(""), x, y };
  }
  show();
}
export const placesLoaded = loadPlaces().catch(() => {});
