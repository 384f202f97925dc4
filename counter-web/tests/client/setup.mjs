// One server and its clients, on one clock.
import { connect } from "../../assets/scripts/counter-client.js";
import { Clock, Locks, MemoryStorage, Server, owner, seeded, settle } from "./fake.mjs";

export const URL_OF_SERVER = "http://server.test";

export function world(seed = 1) {
  const clock = new Clock();
  const server = new Server(clock);
  const locks = new Locks();
  const random = seeded(seed);

  // Opens a client. It records its changes, errors and states.
  function open(options = {}) {
    const self = owner();
    const changes = [], errors = [], states = [];
    const client = connect(URL_OF_SERVER, {
      counter: "clicks",
      fetch: (...request) => (self.dead ? new Promise(() => {}) : server.fetch(...request)),
      WebSocket: class extends server.WebSocket {
        constructor(url) {
          super(url);
          self.socket = this;
        }
      },
      clock: {
        now: clock.now,
        setTimeout: (run, ms) => clock.setTimeout(() => { if (!self.dead) run(); }, ms),
        clearTimeout: clock.clearTimeout,
      },
      random,
      locks: locks.of(self),
      onchange: (view) => { if (!self.dead) changes.push(view); },
      onerror: (error) => errors.push(error),
      onstatus: (status) => states.push(status),
      ...options,
    });
    // The page is gone, without a word.
    const crash = () => {
      self.crash();
      if (self.socket) {
        self.socket.onmessage = self.socket.onclose = null;
        server.cut(self.socket);
      }
    };
    const shown = (name = "clicks") => client.total(name);
    return { client, changes, errors, states, crash, self, shown };
  }

  return { clock, server, locks, open, settle };
}

export const stored = () => new MemoryStorage();

// Every number from 1 on, once.
export function assertWithoutGaps(assert, ids) {
  const byClient = group(ids);
  for (const [client, all] of byClient) {
    const numbers = [...new Set(all.map((id) => Number(id.split(":")[1])))].sort((a, b) => a - b);
    assert.deepEqual(numbers, numbers.map((_, at) => at + 1), `ids of ${client}`);
  }
  return byClient.size;
}

function group(ids) {
  const groups = new Map();
  for (const id of ids) {
    const client = id.split(":")[0];
    groups.set(client, [...(groups.get(client) ?? []), id]);
  }
  return groups;
}
