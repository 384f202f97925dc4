// The state of the page: the counter, its regions and their places, the nodes.

export const $ = (id) => document.getElementById(id);
export const boot = JSON.parse($("state").textContent);
export const { counter, region: here, other } = boot;
// An address of this deployment, which may lie below a path.
export const address = (path) => new URL(boot.root + path, document.baseURI);
export const known = {
  total: BigInt(boot.total), // as the page shows it
  ahead: 0n, // the part of it that is not in the node's number yet
  hash: boot.state_hash,
  replica: boot.replica, // of the node that serves this page
  isolated: boot.isolated, // cut off from the others on purpose
  synced: boot.synced, // this node has caught up with the others
  changedAt: -Infinity, // when the state hash changed last
  members: [], // the nodes, as this one sees them
  agreement: null, // how far they have confirmed this node's state
  lookedAt: 0, // when the status came
  askedAt: 0, // when it was asked for
};
export const regions = new Map(); // code -> {value, connected, nodes, ticks}
const places = {}; // code -> {city, flag, x, y}

export const place = (code) => places[code];
export const name = (code) => (places[code] ? places[code].city : code);
export const flag = (code) => (places[code] ? places[code].flag : "📍");

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

const still = matchMedia("(prefers-reduced-motion: reduce)");
export const isStill = () => still.matches || document.hidden;

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
  const now = () => { queued = false; draw(); };
  // A hidden tab draws no frames, but has a title.
  if (document.hidden) setTimeout(now, 500); else requestAnimationFrame(now);
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
    known.changedAt = performance.now();
    lookSoon();
  }
  for (const code of [...regions.keys()].filter((code) => !(code in view.regions))) {
    regions.delete(code);
    forget(code);
  }
  for (const [code, { value, connected, nodes }] of Object.entries(view.regions)) {
    const old = regions.get(code) || { value: BigInt(value), ticks: [] };
    const more = BigInt(value) - old.value;
    if (more !== 0n) {
      old.ticks.push([performance.now(), Number(more < 0n ? -more : more)]);
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
  const askedAt = performance.now();
  try {
    const status = await (await fetch(address("api/status"))).json();
    known.members = status.members;
    known.agreement = status.agreement;
    known.isolated = status.isolated;
    known.replica = status.replica;
    [known.askedAt, known.lookedAt] = [askedAt, performance.now()];
  } catch { /* the status line shows that the node is gone */ }
  looking = false;
  if (known.agreement && known.agreement.age_ms !== 0 && known.agreement.of) lookSoon();
  show();
}
setInterval(look, LOOK_EVERY);

// The time since a node of the region was last heard from, in ms. Null if none is known.
export function silence(code) {
  const members = known.members.filter((member) => member.region === code && !member.left);
  const ages = members.map((member) => member.last_heard_ms);
  if (!ages.length) return null;
  const least = Math.min(...ages);
  return code === here && least === 0 ? 0 : least + performance.now() - known.lookedAt;
}

// True if the status is newer than the last change.
export const isFresh = () => known.askedAt > known.changedAt;

// Regions whose nodes fell silent without announcing it.
export const outOfTouch = () => [...new Set(known.members
  .filter((member) => !member.live && !member.left && !(regions.get(member.region) || {}).nodes)
  .map((member) => member.region))];

// The other regions that this node reaches.
export const inReach = () => (known.isolated ? [] : [...new Set(known.members
  .filter((member) => member.live && member.region !== here)
  .map((member) => member.region))]);

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
