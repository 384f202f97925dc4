// <live-counter src="https://host" counter="clicks" amount="1">+1</live-counter>
// For CSS: parts total and button, --live-counter-accent, attribute status.
import { connect } from "./counter-client.js";

const SAY_EVERY = 3000; // ms, for screen readers

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host { display: inline-flex; align-items: center; gap: .5em; font-variant: tabular-nums }
button { font: inherit; padding: .25em .75em; border: 0; border-radius: .4em; color: #fff;
  background: var(--live-counter-accent, #0b62d6) }
[aria-live] { position: absolute; clip-path: inset(50%) }`);

const servers = new Map(); // address -> {src, elements, client}

function open(src, counter) {
  const elements = new Set();
  let storage;
  try { storage = localStorage; } catch { /* memory only */ }
  const client = connect(src, {
    counter, storage,
    onchange: (view) => elements.forEach((one) => one.show(view)),
    onstatus: ({ state }) => elements.forEach((one) => one.setAttribute("status", state)),
  });
  return servers.set(src, { src, elements, client }).get(src);
}

customElements.define("live-counter", class extends HTMLElement {
  static observedAttributes = ["src", "counter"];
  #server;
  #timer;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    root.append(...["span", "button", "span"].map((tag) => document.createElement(tag)));
    const [total, button, said] = root.children;
    total.part = "total";
    total.ariaHidden = "true";
    said.ariaLive = "polite";
    button.part = "button";
    button.onclick = () =>
      this.#server.client.add(+(this.getAttribute("amount") ?? 1), this.counter);
    button.append(document.createElement("slot"));
    button.firstChild.textContent = "+1";
  }

  get counter() { return this.getAttribute("counter") ?? "clicks"; }

  connectedCallback() {
    const src = this.getAttribute("src") ?? new URL(".", import.meta.url), { counter } = this;
    const { href } = new URL(src, document.baseURI);
    const { elements, client } = (this.#server = servers.get(href) ?? open(href, counter));
    elements.add(this);
    client.watch(counter);
    this.show({ counter, total: client.total(counter) });
  }

  disconnectedCallback() {
    const { src, elements, client } = this.#server;
    elements.delete(this);
    this.#server = undefined;
    if (elements.size) return;
    servers.delete(src);
    client.close();
  }

  attributeChangedCallback() {
    if (!this.#server) return;
    this.disconnectedCallback();
    this.connectedCallback();
  }

  show({ counter, total }) {
    const [seen, , said] = this.shadowRoot.children, text = total?.toLocaleString() ?? "…";
    if (counter !== this.counter || seen.textContent === text) return;
    seen.textContent = text;
    if (!matchMedia("(prefers-reduced-motion)").matches) seen.animate({ scale: [1.2, 1] }, 150);
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      said.textContent = seen.textContent;
    }, SAY_EVERY);
  }
});
