// The link where no WebSocket comes through: hears by server-sent events, and adds by POST, one at a time.
import { client } from "./clicks.js";
import { address, counter } from "./model.js";

// In milliseconds.
const ANSWER_MAX = 5000;
const QUIET_MAX = 45000; // a stream without events is opened anew, since its end may not be noticed
// Refusals of the page and not of the add, which is kept.
const KEPT = ["stopping", "too_many_connections", "wrong_origin"];

// {status, and the JSON of the answer}; status 0 where nobody answered.
export async function ask(url, request) {
  try {
    const answer = await fetch(url, { ...request, signal: AbortSignal.timeout(ANSWER_MAX) });
    return { ...(await answer.json().catch(() => ({}))), status: answer.status };
  } catch { return { status: 0 }; }
}

// `ended` hears that the link broke, and the sentence of a refusal.
export function listen(heard, ended) {
  const at = (path) => address("api/counters/" + encodeURIComponent(counter) + path);
  const queue = [];
  let events, quietTimer, dueTimer, posting = false, closed = false;

  function close() {
    clearTimeout(quietTimer);
    clearTimeout(dueTimer);
    events?.close();
  }
  function renew() {
    close();
    dueTimer = 0;
    quietTimer = setTimeout(renew, QUIET_MAX);
    events = new EventSource(at("/events?page=" + client));
    events.onerror = () => ended();
    events.onmessage = ({ data }) => {
      clearTimeout(quietTimer);
      clearTimeout(dueTimer);
      dueTimer = 0;
      quietTimer = setTimeout(renew, QUIET_MAX);
      heard(JSON.parse(data));
    };
  }
  async function post() {
    posting = true;
    while (queue.length && !closed) {
      const { id, amount } = queue[0];
      // Its change is an event.
      dueTimer ||= setTimeout(renew, ANSWER_MAX);
      const headers = { "content-type": "application/json", "idempotency-key": id };
      const request = { method: "POST", headers, body: JSON.stringify({ amount }), keepalive: true };
      const answer = await ask(at("/add"), request), { error, message } = answer;
      queue.shift();
      if (answer.id === id) heard({ type: "ack", id });
      else if (error && !KEPT.includes(error)) heard({ type: "error", id, error, message });
      else ended(error === "wrong_origin" && message);
    }
    posting = false;
  }

  renew();
  return {
    send(add) {
      if (!queue.some(({ id }) => id === add.id)) queue.push(add);
      if (!posting) post();
    },
    close() { closed = true; close(); },
  };
}
