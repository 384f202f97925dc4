// The cable between the hero's cities, and the switch that cuts it.
import {
  $, address, clicks, grouped, here, inReach, isStill, known, look, name, now, other,
  outOfTouch, regionCount, regions, show, signed, svg, text, travel,
} from "./model.js";

const HEALED_FOR = 30000; // ms for which the words after a heal are shown
const BIT = 700; // ms that a dot takes along the cable
const BITS_MAX = 12; // dots on the cable at a time

// `apart` is set while this node is cut off. Its `own` and `others` are the clicks of each side at
// the time of the cut, if this page can know them. After the heal, `healed` has them.
let apart = null, healed = null, wasWhole = false, switching = false;

const ownValue = () => (regions.get(here)?.value ?? 0n) + known.ahead;
const elsewhere = () => known.total - ownValue();
const counted = (amount) => (amount < 0n ? grouped(amount) : clicks(amount));

// The amounts that each side of the hero has added since the cut. `there` is the other city's view.
export function sinceCut(there) {
  if (!apart || apart.own === undefined) return {};
  const mine = ownValue() - apart.own;
  return { mine, theirs: there && BigInt(there.total) - apart.own - apart.others };
}

// Follows the cut and the heal. Call it for every view and every status.
export function follow(there) {
  if (known.isolated) {
    if (!apart) apart = wasWhole ? { own: ownValue(), others: elsewhere() } : {};
    // A page that was loaded after the cut takes this city's clicks at the cut from the other side.
    const atCut = there?.regions[here];
    if (apart.own === undefined && atCut && known.lookedAt) {
      const rest = [...regions].filter(([code]) => code !== here);
      const others = rest.reduce((sum, [, { value }]) => sum + value, 0n);
      Object.assign(apart, { own: BigInt(atCut.value), others });
    }
    healed = null;
  } else {
    const sent = ownValue() - (apart?.own ?? 0n);
    if (apart) healed = { at: now(), ...apart, sent };
    [apart, wasWhole] = [null, true];
  }
}

const isRecent = () => healed && now() - healed.at < HEALED_FOR;
// True from the heal until both sides know the clicks of each other.
function isMeeting(there) {
  if (!isRecent() || healed.met) return false;
  if (!there) return !(known.agreement?.of && known.agreement.age_ms === 0);
  const ownThere = BigInt(there.regions[here]?.value ?? 0);
  return BigInt(there.total) !== known.total || ownThere !== ownValue();
}

function words(there) {
  const city = name(here), lost = outOfTouch().map(name);
  if (known.isolated) {
    return there
      ? "Click in both cities: their totals drift apart. Reconnect, and they match again."
      : "Both sides keep counting. Reconnect, and the totals match again.";
  }
  if (isMeeting(there)) return "Reconnected. The totals are meeting again.";
  if (isRecent()) {
    healed.met = true;
    if (healed.own === undefined) return "Back in sync.";
    const received = grouped(elsewhere() - healed.others);
    return `Back in sync: sent ${counted(healed.sent)}, received ${received}.`;
  }
  if (lost.length) {
    return `${lost.join(", ")} may still be counting. Its clicks are added here once it is back.`;
  }
  return "Both sides keep counting; reconnect and the totals match again, with no click lost.";
}

let shownAs = "";
export function drawSwitch(there, isReached) {
  const cut = known.isolated, state = cut ? "cut" : isMeeting(there) ? "meeting" : "";
  const hero = $("hero");
  hero.classList.toggle("cut", cut);
  hero.classList.toggle("lost", Boolean(other) && !cut && !isReached);
  if (shownAs && !cut && state === "") {
    hero.classList.add("met");
    setTimeout(() => hero.classList.remove("met"), 1600);
  }
  shownAs = state;
  const panel = $("switch");
  if (!panel) return;
  const button = panel.querySelector("button");
  button.value = cut ? "0" : "1";
  text(button, `${cut ? "Reconnect" : "Disconnect"} ${name(here)}`);
  text(panel.querySelector("p"), words(there));
}

// Draws clicks passing along the cable, away from this city or towards it.
export function passOn(isOutward) {
  const paths = [...$("hero").querySelectorAll(".whole path")];
  const path = paths.find((path) => path.getClientRects().length), cable = $("cable");
  if (!path || isStill() || known.isolated) return;
  if (cable.querySelectorAll(".bit").length >= BITS_MAX) return;
  const bit = svg("circle", { r: 5, class: isOutward ? "bit" : "bit away" });
  cable.append(bit);
  const length = path.getTotalLength();
  travel(bit, BIT, (t) => path.getPointAtLength(length * (isOutward ? t : 1 - t)));
}

// The words for this city's clicks: sent, or saved.
export function sentWords(amount) {
  const reached = inReach().length, city = name(here), shown = signed(amount);
  if (reached) return `${city} sent ${shown} to ${regionCount(reached)}`;
  return `${shown} saved ${known.isolated ? `here until ${city} reconnects` : `in ${city}`}`;
}

export function watchSwitch(say) {
  $("switch")?.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (switching) return;
    switching = true;
    try {
      const form = new URLSearchParams({ cut: known.isolated ? "0" : "1" });
      const answer = await fetch(address("partition"), {
        method: "POST", body: form, redirect: "manual", headers: { accept: "application/json" },
      });
      if (answer.status >= 400) say((await answer.json()).message);
    } catch { say(`${name(here)} isn't responding`); }
    switching = false;
    await look();
    show();
  });
}
