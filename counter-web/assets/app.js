// The page's script: keeps one socket, shows what it says, and sends each click once.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const boot = JSON.parse($("state").textContent);
  const places = {}; // code -> {city, flag, x, y}, from the same table as the server's
  const counter = boot.state.counter;
  const here = boot.state.region;
  const big = (n) => BigInt(n);
  const mine = { region: here, replica: boot.state.replica };
  let total = big(boot.state.total);
  let hash = boot.state.state_hash;
  const regions = new Map(); // code -> {value, connected, nodes, rate, heard}
  const rows = new Map(); // code -> <tr>

  // ---- clicks: kept until acknowledged, also through a reload ----

  const SEND_EVERY = 30; // ms in which fast clicks become one add
  const AMOUNT_MAX = 1000000;
  const store = {
    key: "counter.waiting." + counter,
    read() { try { return JSON.parse(localStorage.getItem(this.key)) || {}; } catch { return {}; } },
    write(all) { try { localStorage.setItem(this.key, JSON.stringify(all)); } catch { /* private mode: kept in memory only */ } },
  };
  const client = Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(36).padStart(2, "0")).join("").slice(0, 16);
  let sequence = 0;
  let gathered = 0; // clicked, and not yet an add
  let waiting = []; // {id, amount}: sent or to be sent, not yet acknowledged
  let settled = 0n; // acknowledged, and not yet in a message of the server
  let sendTimer = 0;

  function keep() {
    const all = store.read();
    const whole = gathered ? waiting.concat({ id: client + ":" + (sequence + 1), amount: gathered }) : waiting;
    if (whole.length) all[client] = { at: Date.now(), adds: whole }; else delete all[client];
    store.write(all);
  }

  // What a page left behind that is gone: taken over, ids and all, so that a repeated send counts once.
  function adopt(alive) {
    const all = store.read();
    for (const [owner, left] of Object.entries(all)) {
      if (owner === client || alive.has(owner) || !Array.isArray(left.adds)) continue;
      waiting.push(...left.adds);
      delete all[owner];
    }
    store.write(all);
    keep();
    sendAll();
    show();
  }
  if (navigator.locks) {
    navigator.locks.request("counter." + client, () => new Promise(() => {}));
    navigator.locks.query().then(({ held }) => adopt(new Set(held.map((lock) => lock.name.replace("counter.", "")))));
  } else {
    adopt(new Set(Object.entries(store.read()).filter(([, left]) => Date.now() - left.at < 60000).map(([owner]) => owner)));
  }

  function click(amount) {
    gathered += amount;
    keep();
    if (!sendTimer) sendTimer = setTimeout(gather, SEND_EVERY);
    show();
  }

  function gather() {
    sendTimer = 0;
    while (gathered !== 0) {
      const amount = Math.max(-AMOUNT_MAX, Math.min(AMOUNT_MAX, gathered));
      gathered -= amount;
      const add = { id: client + ":" + ++sequence, amount };
      waiting.push(add);
      send(add);
    }
    keep();
    show();
  }

  const send = (add) => { if (live()) socket.send(JSON.stringify({ type: "add", amount: add.amount, id: add.id })); };
  const sendAll = () => waiting.forEach(send);
  const pending = () => waiting.reduce((sum, add) => sum + BigInt(add.amount), BigInt(gathered) + settled);
  const waitingCount = () => waiting.reduce((sum, add) => sum + Math.abs(add.amount), Math.abs(gathered));

  // ---- the socket ----

  const PING_EVERY = 5000, SILENCE_MAX = 12000, HIDDEN_MAX = 300000, GRACE = 1500, WAIT_MIN = 250, WAIT_MAX = 10000;
  let socket = null, attempts = 0, retryTimer = 0, heardAt = 0, lostAt = Date.now(), opened = false, left = false;
  const live = () => socket && socket.readyState === WebSocket.OPEN && opened;

  function connect() {
    clearTimeout(retryTimer);
    if (left || (socket && socket.readyState <= WebSocket.OPEN)) return;
    const url = new URL("/ws?counter=" + encodeURIComponent(counter), location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const mineNow = (socket = new WebSocket(url));
    heardAt = Date.now();
    mineNow.onmessage = (event) => { if (mineNow === socket) { heardAt = Date.now(); hear(JSON.parse(event.data)); } };
    mineNow.onclose = () => { if (mineNow === socket) lost(); };
  }

  function lost() {
    if (opened) lostAt = Date.now();
    opened = false;
    socket = null;
    const wait = Math.min(WAIT_MAX, WAIT_MIN * 2 ** attempts++) * (0.5 + Math.random());
    retryTimer = setTimeout(connect, wait);
    setTimeout(show, GRACE + 50);
    show();
  }

  function drop() {
    const old = socket;
    if (old) { lost(); old.close(1000); }
  }

  function hear(message) {
    switch (message.type) {
      case "state":
        opened = true;
        attempts = 0;
        mine.replica = message.replica;
        regions.forEach((_, code) => { if (!(code in message.regions)) forget(code); });
        take(message);
        sendAll();
        look();
        break;
      case "change":
        take(message);
        break;
      case "ack": case "error": {
        const at = waiting.findIndex((add) => add.id === message.id);
        if (at >= 0 && message.error === "rate_limited") { setTimeout(sendAll, 1000); say(message.message); break; }
        if (at >= 0) {
          const [add] = waiting.splice(at, 1);
          if (message.type === "ack") settle(BigInt(add.amount)); else say(message.message);
          keep();
        }
        break;
      }
      case "pong":
        $("rtt").value = Math.round(performance.now() - message.t) + " ms";
        break;
    }
    show();
  }

  // Shown until the server's next message has it; an add that was sent twice is in the last one already, and no message follows.
  let settleTimer = 0;
  function settle(amount) {
    settled += amount;
    clearTimeout(settleTimer);
    settleTimer = setTimeout(() => { settled = 0n; show(); }, 1500);
  }

  function take(message) {
    total = big(message.total);
    settled = 0n;
    if (hash !== message.state_hash) { hash = message.state_hash; changedAt = performance.now(); lookSoon(); }
    for (const [code, region] of Object.entries(message.regions)) {
      const old = regions.get(code) || { value: big(region.value), rate: 0, ticks: [] };
      const gained = big(region.value) - old.value;
      if (gained !== 0n) { old.ticks.push([performance.now(), Number(gained < 0n ? -gained : gained)]); pulse(code); }
      regions.set(code, { ...old, value: big(region.value), connected: region.connected, nodes: region.nodes });
    }
  }

  setInterval(() => {
    if (live()) socket.send(JSON.stringify({ type: "ping", t: performance.now() }));
    if (socket && Date.now() - heardAt > SILENCE_MAX) drop();
  }, PING_EVERY);

  // A hidden tab gives its place up after a while; a page that sleeps or is left closes at once, so that it is no ghost.
  let hiddenTimer = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenTimer);
    drawn = false; show(); if (document.hidden) hiddenTimer = setTimeout(() => { left = true; drop(); clearTimeout(retryTimer); }, HIDDEN_MAX); else back();
  });
  addEventListener("pagehide", () => { left = true; keep(); const old = socket; opened = false; socket = null; if (old) old.close(1000); });
  addEventListener("pageshow", (event) => { if (event.persisted) back(); });
  addEventListener("online", () => { attempts = 0; connect(); });
  addEventListener("offline", drop);
  function back() { left = false; attempts = 0; if (socket && Date.now() - heardAt > PING_EVERY * 2) drop(); connect(); }

  // ---- who agrees: asked of this node, after changes and now and then ----

  const LOOK_EVERY = 3000;
  const SETTLE = 8000; // in which every node has been heard of again after a change
  let changedAt = 0;
  let looking = false, members = [];
  let lookTimer = 0;
  const lookSoon = () => { if (!lookTimer) lookTimer = setTimeout(look, 400); };
  async function look() {
    clearTimeout(lookTimer);
    lookTimer = 0;
    if (looking || document.hidden || !live()) return;
    looking = true;
    try { members = (await (await fetch("/api/status")).json()).members; } catch { /* the status line says it already */ }
    looking = false;
    show();
  }
  setInterval(look, LOOK_EVERY);

  // ---- what is seen ----

  let drawn = false;
  // A hidden tab has no frames, but a title.
  const frame = (f) => (document.hidden ? setTimeout(f, 500) : requestAnimationFrame(f));
  const show = () => { if (!drawn) { drawn = true; frame(() => { drawn = false; draw(); }); } };
  const text = (node, value) => { if (node && node.textContent !== value) node.textContent = value; };
  const name = (code) => (places[code] ? places[code].city : code);

  function forget(code) {
    regions.delete(code);
    if (rows.has(code)) { rows.get(code).remove(); rows.delete(code); }
    const dot = dotOf(code);
    if (dot) dot.remove();
  }

  const rowTemplate = document.querySelector("#regions tbody tr");
  function row(code) {
    if (rows.has(code)) return rows.get(code);
    const made = rowTemplate.cloneNode(true);
    made.dataset.region = code;
    made.className = "";
    const head = made.querySelector("th");
    head.children[0].textContent = places[code] ? places[code].flag : "📍";
    head.childNodes[1].textContent = " " + name(code) + " ";
    head.children[1].textContent = code;
    document.querySelector("#regions tbody").append(made);
    rows.set(code, made);
    return made;
  }

  const svg = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const dotOf = (code) => document.querySelector('#dots circle[data-region="' + CSS.escape(code) + '"]:not(.pulse)');
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  function pulse(code) {
    const dot = dotOf(code);
    if (!dot || still.matches || document.hidden || document.querySelectorAll("#dots .pulse").length > 60) return;
    const ring = svg("circle", { class: "pulse", cx: dot.getAttribute("cx"), cy: dot.getAttribute("cy"), r: dot.getAttribute("r") });
    ring.addEventListener("animationend", () => ring.remove());
    $("dots").append(ring);
  }

  function draw() {
    const extra = pending();
    const now = performance.now();
    text($("total"), (total + extra).toString());
    document.title = total + extra + " " + counter + " · " + name(here);
    const shown = new Map([...regions].map(([code, r]) => [code, { ...r, value: r.value + (code === here ? extra : 0n) }]));
    const positive = [...shown.values()].reduce((sum, r) => sum + (r.value > 0n ? r.value : 0n), 0n) || 1n;
    const greatest = [...shown.values()].reduce((most, r) => (r.value > most ? r.value : most), 1n);
    for (const [code, r] of shown) {
      while (r.ticks.length && now - r.ticks[0][0] > 5000) r.ticks.shift();
      r.rate = r.ticks.reduce((sum, tick) => sum + tick[1], 0) / 5;
      const tr = row(code);
      const cell = (field, value) => text(tr.querySelector('[data-f="' + field + '"]'), value);
      cell("value", r.value.toString());
      cell("connected", String(r.connected));
      cell("nodes", String(r.nodes));
      cell("rate", r.rate ? r.rate.toFixed(1) : "0");
      const heard = heardOf(code);
      cell("heard", heard === null ? "–" : heard < 2000 ? "now" : Math.round(heard / 1000) + " s");
      const stale = r.nodes === 0;
      tr.className = (code === here ? "here" : "") + (stale ? " stale" : "");
      tr.querySelector("rect + rect").setAttribute("width", r.value > 0n ? Number((r.value * 1200n) / positive) / 10 : 0);
      drawDot(code, r, greatest, stale);
    }
    sort(shown);
    drawStatus();
    drawAgreement();
    drawRing();
  }

  function drawDot(code, r, greatest, stale) {
    if (!places[code]) return;
    const dot = dotOf(code) || $("dots").appendChild(svg("circle", { "data-region": code, cx: places[code].x, cy: places[code].y }));
    dot.setAttribute("r", (4 + 10 * Math.sqrt(Number(r.value > 0n ? r.value : 0n) / Number(greatest))).toFixed(1));
    dot.setAttribute("class", (code === here ? "here" : "") + (stale ? " stale" : ""));
    const title = dot.querySelector("title") || dot.appendChild(svg("title", {}));
    text(title, name(code) + ": " + r.value);
  }

  function heardOf(code) {
    const ages = members.filter((member) => member.region === code && member.live).map((member) => member.last_heard_ms);
    return ages.length ? Math.min(...ages) : null;
  }

  function drawStatus() {
    const count = waitingCount();
    const clicks = count === 1 ? "1 click waiting" : count + " clicks waiting";
    const away = Date.now() - lostAt;
    let state = "live", words = "live";
    if (!live()) {
      const off = navigator.onLine === false || attempts > 4;
      state = off ? "offline" : "waiting";
      words = off ? "off line" : away < GRACE && attempts < 2 ? "live" : "reconnecting";
      if (words === "live") state = "live";
      if (count) words += " with " + clicks;
    }
    $("status").dataset.state = state;
    text($("status").querySelector("span"), words);
  }

  function drawAgreement() {
    const others = members.filter((member) => member.live && member.replica !== mine.replica);
    const behind = others.filter((member) => member.lag_versions !== 0);
    const short = hash.slice(0, 4) + "…";
    const agree = others.length > 0 && behind.length === 0;
    $("hash").classList.toggle("agree", agree);
    const lag = (member) => name(member.region) + (member.lag_versions === null ? " not heard yet" : " " + member.lag_versions + " changes apart");
    // What a node said before the last change says nothing about it: for a moment all that is true is that it is asked.
    const asking = performance.now() - changedAt < SETTLE;
    if (agree) text($("hash"), "all regions agree · " + short);
    else if (others.length === 0) text($("hash"), "alone · state " + short);
    else if (asking) text($("hash"), "hearing from " + behind.length + (behind.length === 1 ? " node" : " nodes") + " · state " + short);
    else text($("hash"), behind.slice(0, 3).map(lag).join(", ") + " · state " + short);
  }

  let ringOf = "";
  function drawRing() {
    const nodes = members.filter((member) => member.live).slice(0, 24);
    const key = JSON.stringify(nodes.map((member) => [member.replica, member.region, member.lag_versions === 0]));
    if (key === ringOf) return;
    ringOf = key;
    const at = (i) => { const turn = (2 * Math.PI * i) / Math.max(nodes.length, 1) - Math.PI / 2; return [200 + 130 * Math.cos(turn), 100 + 70 * Math.sin(turn)]; };
    const home = nodes.findIndex((member) => member.replica === mine.replica);
    const parts = [];
    nodes.forEach((member, i) => {
      if (home < 0 || i === home) return;
      const [x1, y1] = at(home), [x2, y2] = at(i);
      const behind = member.lag_versions !== 0;
      parts.push(svg("line", { x1, y1, x2, y2, class: behind ? "behind" : "" }));
      if (behind) parts.push(svg("circle", { cx: (x1 + x2) / 2, cy: (y1 + y2) / 2, r: 4, class: "parcel" }));
    });
    nodes.forEach((member, i) => {
      const [cx, cy] = at(i);
      const label = svg("text", { x: cx, y: cy < 100 ? cy - 16 : cy + 24 });
      label.textContent = name(member.region) + (i === home ? " (this node)" : "");
      parts.push(svg("circle", { cx, cy, r: i === home ? 11 : 8 }), label);
    });
    $("ring").replaceChildren(...parts);
  }

  let order = { by: "value", down: true };
  let orderShown = "";
  function sort(shown) {
    const codes = [...shown.keys()].sort((a, b) => {
      const [x, y] = order.by === "city" ? [name(a), name(b)] : [shown.get(a)[order.by], shown.get(b)[order.by]];
      return (x < y ? -1 : x > y ? 1 : 0) * (order.down ? -1 : 1) || (a < b ? -1 : 1);
    });
    const key = codes.join();
    // Rows stay where they are under the pointer.
    if (key === orderShown || document.querySelector("#regions tbody:hover")) return;
    orderShown = key;
    document.querySelector("#regions tbody").append(...codes.map((code) => rows.get(code)));
  }
  document.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
    const by = button.dataset.sort;
    order = { by, down: order.by === by ? !order.down : by !== "city" };
    document.querySelectorAll("th[aria-sort]").forEach((th) => th.setAttribute("aria-sort", "none"));
    button.parentElement.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    orderShown = "";
    show();
  }));

  const history = [];
  setInterval(() => {
    history.push(Number(total + pending()));
    if (history.length > 120) history.shift();
    const [low, high] = [Math.min(...history), Math.max(...history)];
    const y = (value) => (high === low ? 20 : 37 - (34 * (value - low)) / (high - low));
    const points = history.map((value, i) => ((300 * (120 - history.length + i)) / 120).toFixed(1) + "," + y(value).toFixed(1));
    $("spark").firstElementChild.setAttribute("points", points.join(" "));
    show();
  }, 1000);

  let saidAt = 0, sayTimer = 0;
  function say(words) { // for screen readers, not more than once in three seconds
    clearTimeout(sayTimer);
    sayTimer = setTimeout(() => { saidAt = Date.now(); text($("said"), words); }, Math.max(0, 3000 - (Date.now() - saidAt)));
  }

  // ---- hands ----

  $("clicks").addEventListener("submit", (event) => {
    event.preventDefault();
    click(Number(event.submitter ? event.submitter.value : 1));
    say("the total is " + (total + pending()));
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") click(1);
    else if (event.key === "-" || event.key === "−") click(-1);
  });

  document.querySelectorAll("#regions tbody tr").forEach((tr) => rows.set(tr.dataset.region, tr));
  for (const [code, region] of Object.entries(boot.state.regions)) {
    regions.set(code, { value: big(region.value), connected: region.connected, nodes: region.nodes, rate: 0, ticks: [] });
  }
  const letter = (c) => String.fromCodePoint(0x1f1e6 + c.charCodeAt(0) - 65);
  function learn(table) {
    for (const line of table.split("\n").slice(1)) {
      const [code, city, country, lat, lon] = line.split(",");
      if (lon) places[code] = { city, flag: [...country].map(letter).join(""), x: ((+lon + 180) / 360) * 1000, y: ((90 - lat) / 180) * 500 };
    }
  }
  // Without the table, cities that come later are shown by their codes.
  fetch("/assets/regions.csv").then((answer) => answer.text()).then(learn).catch(() => {}).finally(connect);
})();
