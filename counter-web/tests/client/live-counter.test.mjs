// The element, on a stand-in for the DOM.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStorage, Clock, Server, settle } from "./fake.mjs";

class Element {
  children = [];
  attributes = new Map();
  textContent = "";
  get firstChild() { return this.children[0]; }
  append(...children) { this.children.push(...children); }
  getAttribute(name) { return this.attributes.get(name) ?? null; }
  setAttribute(name, value) {
    this.attributes.set(name, value);
    if (this.constructor.observedAttributes?.includes(name)) this.attributeChangedCallback();
  }
  attachShadow() { return (this.shadowRoot = new Element()); }
  set innerHTML(_) { throw new Error("no markup"); }
  animate(...given) { this.animated = given; }
}

const clock = new Clock(), server = new Server(clock), defined = new Map();
let isCalm = false;
Object.assign(globalThis, {
  HTMLElement: Element,
  CSSStyleSheet: class { replaceSync(text) { this.text = text; } },
  customElements: { define: (name, kind) => defined.set(name, kind) },
  document: { baseURI: "http://page.test/", createElement: () => new Element() },
  matchMedia: () => ({ matches: isCalm }),
  WebSocket: server.WebSocket,
  fetch: server.fetch,
});
const storage = new MemoryStorage();
Object.defineProperty(globalThis, "localStorage", { value: storage, configurable: true });
globalThis.setTimeout = clock.setTimeout;
globalThis.clearTimeout = clock.clearTimeout;
await import("../../assets/scripts/live-counter.js");

function place(attributes) {
  const element = new (defined.get("live-counter"))();
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.connectedCallback();
  const [total, button, said] = element.shadowRoot.children;
  return { element, total, button, said };
}

test("an element shows a total and adds to it", async () => {
  server.totals.set("clicks", 41n);
  const { element, total, button, said } = place({ src: "http://server.test/" });
  assert.equal(total.textContent, "…");
  await settle();
  assert.equal(total.textContent, "41");
  assert.equal(element.getAttribute("status"), "live");
  button.onclick();
  await null;
  assert.equal(total.textContent, "42", "shown before the server answers");
  await settle();
  assert.equal(server.total("clicks"), 42n);
  assert.equal(said.ariaLive, "polite");
  assert.equal(said.textContent, "", "screen readers hear one total in 3 s");
  await clock.advance(3_000);
  assert.equal(said.textContent, "42");
  element.disconnectedCallback();
  await settle();
  assert.equal(server.sockets.size, 0);
});

test("elements of one server share a socket", async () => {
  const before = server.tries.length;
  const places = ["clicks", "likes", "likes"].map((counter) =>
    place({ src: "http://server.test", counter, amount: "5" }));
  await settle();
  assert.equal(server.tries.length - before, 1);
  places[1].button.onclick();
  await settle();
  assert.deepEqual(places.map(({ total }) => total.textContent), ["42", "5", "5"]);
  places[0].element.setAttribute("counter", "stars");
  await settle();
  assert.equal(places[0].total.textContent, "0");
  for (const { element } of places) element.disconnectedCallback();
  await settle();
  assert.equal(server.sockets.size, 0);
});

test("nothing moves if the user prefers reduced motion", async () => {
  isCalm = true;
  const { element, total } = place({ src: "http://server.test/", counter: "calm" });
  await settle();
  assert.equal(total.textContent, "0");
  assert.equal(total.animated, undefined);
  element.disconnectedCallback();
  isCalm = false;
});

test("a total beyond 2^53 is shown whole", async () => {
  server.totals.set("huge", 2n ** 63n);
  const { element, total } = place({ src: "http://server.test/", counter: "huge" });
  await settle();
  assert.equal(total.textContent.replace(/\D/g, ""), "9223372036854775808");
  element.disconnectedCallback();
});
