// One city of the hero: its total with rolling digits, its buttons, and the visitor's own clicks.
import { $, grouped, isStill, moveOnce, signed, text } from "./model.js";

const ROLL = 420; // ms
const VIBRATION = 12; // ms
const FLOATING_MAX = 30; // amounts in the air
// Font sizes by the length of a total, as in page/render.rs.
const SIZES = [[5, ""], [8, "l"], [12, "m"], [17, "s"], [22, "xs"], [27, "xxs"]];

// Shows a number. The digits that changed roll, upwards if it grew. Then it becomes plain text.
function roll(node, value, isMore) {
  if (node.textContent === value) return;
  const before = node.textContent;
  const size = SIZES.find(([length]) => value.length < length)?.[1] ?? "long";
  node.className = `total ${size}`;
  if (isStill() || before === "–" || before.length > 26) { node.textContent = value; return; }
  const digits = [...value].map((digit, at) => {
    const old = before.at(at - value.length) ?? "";
    const span = document.createElement("span");
    span.textContent = digit;
    if (digit === old || !/\d/.test(digit)) return span;
    span.dataset.old = /\d/.test(old) ? old : "";
    span.className = isMore ? "up" : "down";
    const from = isMore ? "100%" : "-100%";
    const timing = { duration: ROLL, easing: "cubic-bezier(.2,.9,.3,1)" };
    span.animate({ transform: [`translateY(${from})`, "none"] }, timing);
    return span;
  });
  node.replaceChildren(...digits);
  const last = digits.at(-1);
  setTimeout(() => { if (last.isConnected) node.textContent = node.textContent; }, ROLL + 30);
}

// Lets an amount rise from the place of the click.
function float(amount, { x, y }, kind) {
  if (isStill() || document.querySelectorAll(".plus").length >= FLOATING_MAX) return;
  const made = document.createElement("span");
  Object.assign(made, {
    className: `plus ${kind}`, ariaHidden: "true", textContent: signed(amount),
  });
  [made.style.left, made.style.top] = [`${x}px`, `${y}px`];
  document.body.append(made);
  const drift = `${(Math.random() * 36 - 18).toFixed()}px`;
  moveOnce(made, [
    { opacity: 0, transform: "translate(-50%, -50%) scale(.6)" },
    { opacity: 1, transform: "translate(-50%, -130%) scale(1.15)", offset: 0.25 },
    { opacity: 0, transform: `translate(calc(-50% + ${drift}), -330%)` },
  ], { duration: 850, easing: "ease-out" });
}

// Opens the card whose elements have ids with this prefix. `onclick` gets each amount.
export function openCity(prefix, key, onclick) {
  const [total, own, minus, plus] = ["total", "own", "minus", "plus"].map((id) => $(prefix + id));
  let shown, mine = 0; // the visitor's clicks here, kept over reloads of this tab
  try { mine = Number(sessionStorage.getItem(key)) || 0; } catch { /* this load only */ }
  const card = {
    // Draws the total. `note` stands below it, and `kind` is its style.
    draw(value, note, kind = "") {
      if (value !== undefined) roll(total, grouped(value), shown === undefined || value >= shown);
      shown = value;
      text(own, note ?? (mine ? `Your clicks: ${grouped(mine)}` : ""));
      own.className = `own ${kind}`;
    },
    add(amount, at) {
      mine++;
      try { sessionStorage.setItem(key, mine); } catch { /* this load only */ }
      // Browsers complain of a vibration before the first tap.
      if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.(VIBRATION);
      onclick(amount);
      const box = (amount > 0 ? plus : minus).getBoundingClientRect();
      float(amount, at ?? { x: box.x + box.width / 2, y: box.y }, prefix && "away");
    },
  };
  for (const button of [minus, plus]) {
    button.addEventListener("click", (event) => {
      event.preventDefault();
      // A click by key or by script has no place.
      const hasPlace = event.detail && event.isTrusted;
      card.add(Number(button.value), hasPlace ? event : undefined);
    });
  }
  return card;
}
