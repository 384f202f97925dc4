// The fan-out work by node and ws, as well as it can be done there: each change serialised and framed once, coalesced a turn of the event loop.
import { createServer } from "node:http";
import { Sender, WebSocketServer } from "ws";

const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false, skipUTF8Validation: true });
const clients = new Set();
let total = 0, asked = false;

const json = (type) => JSON.stringify({
  type, total, regions: { ord: { value: total, connected: clients.size, nodes: 1 } }, state_hash: total.toString(16).padStart(32, "0"), synced: true,
});

function tellAll() {
  asked = false;
  const options = { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: true };
  const frame = Buffer.concat(Sender.frame(Buffer.from(json("change")), options));
  for (const client of clients) client._socket.write(frame);
}

sockets.on("connection", (client) => {
  client._socket.setNoDelay(true);
  clients.add(client);
  client.on("close", () => clients.delete(client));
  client.on("message", (data) => {
    const { type, amount, id } = JSON.parse(data);
    if (type !== "add") return;
    total += amount;
    client.send(JSON.stringify({ type: "ack", id }));
    if (!asked) { asked = true; setImmediate(tellAll); }
  });
  client.send(json("state"));
});
server.listen(0, "127.0.0.1", 4096, () => console.log(JSON.stringify({ http: `127.0.0.1:${server.address().port}` })));
