// The link without a WebSocket: receives server-sent events, and sends one add at a time by POST.
import { client } from "./clicks.js";
import { address, counter } from "./model.js";

// In milliseconds.
const ANSWER_MAX = 5000;
const QUIET_MAX = 45000; // a silent stream is reopened, because it may be dead
// Errors of the page, not of the add, which is kept.
const KEPT = ["stopping", "too_many_connections", "wrong_origin"];

// {status, ...the JSON of the response}. Status 0 without a response.
export async function ask(url, request) {
  try {
    const answer = await fetch(url, { ...request, signal: AbortSignal.timeout(ANSWER_MAX) });
    return { ...(await answer.json().catch(() => ({}))), status: answer.status };
  } catch { return { status: 0 }; }
}

// `ended` is called when the link breaks, with the message of a refusal.
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
      // The change of this add must come as an event, or the stream is dead.
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
