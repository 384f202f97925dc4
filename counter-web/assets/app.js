// The page's script: connects the modules, and handles user input.
import { answered, began, changed, click, gather, pending, sendWith } from "./clicks.js";
import { $, address, drawWith, here, known, learned, look, regions, show, take } from "./model.js";
import { arrived, departed, drawNodes } from "./nodes.js";
import { hurry, isListening, isOpen, open, send } from "./socket.js";
import { drawRows, forgetRow } from "./table.js";
import { drawWords, ownValueWith, say, sayTotal } from "./words.js";
import { drawDots, drawLinks, forgetDot, pulse } from "./world.js";

const HISTORY = 120000; // ms of the sparkline

drawWith(() => {
  const extra = pending();
  drawWords(extra);
  drawRows(extra);
  drawDots();
  drawLinks();
  drawNodes();
});
sendWith((add) => send({ type: "add", amount: add.amount, id: add.id }));
ownValueWith(() => (regions.get(here) ? regions.get(here).value : 0n));

function gained(code, amount) {
  pulse(code);
  if (code !== here) arrived(code, amount);
}

function hear(message) {
  switch (message.type) {
    case "state":
      isOpen();
      known.replica = message.replica;
      [...regions.keys()].filter((code) => !(code in message.regions)).forEach((code) => {
        regions.delete(code);
        forgetRow(code);
        forgetDot(code);
      });
      take(message, gained);
      began(!isListening());
      look();
      break;
    case "change":
      take(message, gained);
      changed();
      break;
    case "applied": case "ack": case "error": {
      const amount = answered(message);
      if (amount) departed(amount);
      if (message.type === "error" && message.error !== "cannot_tell") say(message.message);
      break;
    }
  }
  show();
}

// ---- input ----

function add(amount) {
  click(amount);
  hurry();
  sayTotal();
}
$("clicks").addEventListener("submit", (event) => {
  event.preventDefault();
  add(Number(event.submitter ? event.submitter.value : 1));
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const amount = { "+": 1, "=": 1, "-": -1, "−": -1 }[event.key];
  if (amount) add(amount);
});

let switching = false;
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
  } catch { say("this node does not answer"); }
  switching = false;
  look();
});

// ---- the sparkline: the total since the page loaded, at most two minutes ----

const history = []; // [ms, total]
setInterval(() => {
  const now = performance.now();
  history.push([now, known.total + pending()]);
  while (now - history[0][0] > HISTORY) history.shift();
  show();
  let [low, high] = [history[0][1], history[0][1]];
  for (const [, total] of history) [low, high] = [total < low ? total : low, total > high ? total : high];
  if (history.length < 2) return;
  const since = history[0][0], x = (at) => (300 * (at - since)) / (now - since);
  const y = (total) => (high === low ? 38 : 40 - (32 * Number(total - low)) / Number(high - low));
  const points = history.map(([at, total]) => x(at).toFixed(1) + "," + y(total).toFixed(1)).join(" ");
  $("spark").lastElementChild.setAttribute("points", points);
  $("spark").firstElementChild.setAttribute("points", "0,48 " + points + " 300,48");
}, 1000);

learned.finally(() => open(hear, gather));
