// The page's script: brings the rooms together, and takes what hands do.
import { answered, click, gather, pending, sendAll, sendWith, settle } from "./clicks.js";
import { $, drawWith, here, known, learned, look, regions, show, take } from "./model.js";
import { arrived, departed, drawNodes } from "./nodes.js";
import { isOpen, open, send } from "./socket.js";
import { drawRows, forgetRow } from "./table.js";
import { drawWords, ownValueWith, say, sayTotal } from "./words.js";
import { drawDots, forgetDot, pulse } from "./world.js";

const HISTORY = 120; // seconds of the sparkline

drawWith(() => {
  const extra = pending();
  drawWords(extra);
  drawRows(extra);
  drawDots();
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
      settle();
      sendAll();
      look();
      break;
    case "change":
      take(message, gained);
      settle();
      break;
    case "ack": case "error": {
      const amount = answered(message);
      if (amount) departed(amount);
      if (message.type === "error") say(message.message);
      break;
    }
  }
  show();
}

// ---- hands ----

$("clicks").addEventListener("submit", (event) => {
  event.preventDefault();
  click(Number(event.submitter ? event.submitter.value : 1));
  sayTotal();
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const amount = { "+": 1, "=": 1, "-": -1, "−": -1 }[event.key];
  if (amount) { click(amount); sayTotal(); }
});

let switching = false;
$("switch")?.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (switching) return;
  switching = true;
  try {
    const form = new URLSearchParams({ cut: known.isolated ? "0" : "1" });
    const answer = await fetch("/partition", { method: "POST", body: form, redirect: "manual" });
    if (answer.status >= 400) say((await answer.json()).message);
  } catch { say("this node does not answer"); }
  switching = false;
  look();
});

// ---- the sparkline ----

const history = [];
setInterval(() => {
  history.push(Number(known.total + pending()));
  if (history.length > HISTORY) history.shift();
  const [low, high] = [Math.min(...history), Math.max(...history)];
  const y = (value) => (high === low ? 20 : 37 - (34 * (value - low)) / (high - low));
  const points = history.map((value, i) => ((300 * (HISTORY - history.length + i)) / HISTORY).toFixed(1) + "," + y(value).toFixed(1));
  $("spark").firstElementChild.setAttribute("points", points.join(" "));
  show();
}, 1000);

learned.finally(() => open(hear, gather));
