// The page's script: opens the links, connects the modules, and handles keys.
import { openCity } from "./city.js";
import { openLink } from "./link.js";
import {
  $, address, boot, counter, drawWith, here, known, look, name, other, placesLoaded, show, signed,
  take,
} from "./model.js";
import { drawSwitch, follow, passOn, sentWords, sinceCut, watchSwitch } from "./partition.js";
import { record } from "./spark.js";
import { drawRows, forgetRow } from "./table.js";
import { drawWords, moved, say, sayTotal } from "./words.js";
import { drawDots, drawLinks, flyIn, flyOut, forgetDot, pulse } from "./world.js";

const GATHER = 50; // ms; growths in this time become one message

let link, otherLink, otherCity, there; // `there`: the latest view of the other city's node

let gathered = 0n, gatherTimer = 0;
function sent(amount) {
  gathered += amount;
  gatherTimer ||= setTimeout(() => {
    if (gathered) { moved(sentWords(gathered)); flyOut(gathered); }
    [gathered, gatherTimer] = [0n, 0];
  }, GATHER);
}

function gained(code, amount) {
  pulse(code);
  if (code === here || code === other?.region) passOn(code === here);
  if (code === here) return sent(amount);
  moved(`${name(code)} sent ${signed(amount)}`);
  flyIn(code, amount);
}

function forget(code) {
  forgetRow(code);
  forgetDot(code);
}

const key = `clicks ${address(".").pathname} ${counter} `;
const city = openCity("", key + here, (amount) => {
  link.add(amount);
  sayTotal();
});
if (other) otherCity = openCity("there-", key + other.region, (amount) => otherLink.add(amount));

// The line below a city's total while the two sides are apart.
const note = (amount) => (amount === undefined ? undefined : `${signed(amount)} since the cut`);

function draw() {
  follow(there);
  const status = link.status(), isLive = status.state === "live";
  const { mine, theirs } = sinceCut(there);
  city.draw(known.total, isLive ? note(mine) : undefined, mine === undefined ? "" : "apart");
  const away = otherLink?.status(), isReached = away?.state === "live";
  if (other) {
    const words = isReached ? note(theirs) : away.words;
    const kind = isReached && theirs === undefined ? "" : "apart";
    otherCity.draw(there && BigInt(there.total), words, kind);
  }
  drawWords(status);
  drawSwitch(there, isReached);
  drawRows(known.ahead);
  drawDots();
  drawLinks();
}

const onerror = ({ message }) => say(message);
function openLinks() {
  link = openLink(address("."), () => name(here), {
    total: boot.total,
    onview(view) {
      take(view, gained, forget);
      record(0, known.total);
      follow(there);
      show();
    },
    onlost: () => { $("rtt").textContent = ""; },
    onping: (ms) => { $("rtt").textContent = `ping ${Math.max(1, Math.round(ms))} ms`; },
    onerror,
  });
  if (!other) return;
  otherLink = openLink(new URL(other.url), () => name(other.region), {
    onview(view) {
      there = view;
      record(1, BigInt(view.total));
      show();
    },
    onerror,
  });
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const amount = { "+": 1, "=": 1, "-": -1, "−": -1 }[event.key];
  if (amount) city.add(amount);
});
watchSwitch(say);
record(0, known.total);
openLinks();
look();

// The first drawing waits for the names of the cities.
placesLoaded.finally(() => {
  drawWith(draw);
  show();
  setInterval(show, 1000); // for ages, rates, and words that time out
});
