// Any NATS client can be a hand: this one is a small text adventure. node adventure-hand.mjs nats://127.0.0.1:4222
// A session whose environment has `hand: {driver: "bus", image: "adventure"}` plays it with its ordinary tools.
import { connect } from "@nats-io/transport-node";

const rooms = {
  hall: { text: "A dusty hall. A lamp lies here. There is a door to the north.", north: "cellar" },
  cellar: { text: "A dark cellar. A chest stands in the corner. The hall is to the south.", south: "hall" },
};
const games = new Map(); // by hand id: where the player is and what it carries

function play(game, command) {
  const [verb = "", what = ""] = command.trim().toLowerCase().split(/\s+/);
  if (verb === "go") game.room = rooms[game.room][what] ?? game.room;
  if (verb === "take" && what === "lamp" && game.room === "hall") game.lamp = true;
  if (verb === "take" && game.lamp) return "Taken. It burns.";
  if (verb === "look" || verb === "go") return rooms[game.room].text;
  if (verb !== "open" || game.room !== "cellar") return "Nothing happens. Try: look, go north, take lamp, open chest.";
  return game.lamp ? "You find the treasure. The word on it is XYZZY." : "It is too dark to find the lock.";
}

const nats = await connect({ servers: process.argv[2] ?? "nats://127.0.0.1:4222" });
const requests = nats.subscribe("mh.hand.adventure");
await nats.flush();
process.stdout.write("ready\n");
for await (const message of requests) {
  const { type, hand_id, name, input } = message.json();
  if (type === "provision") games.set(hand_id, { room: "hall", lamp: false });
  if (type === "release") games.delete(hand_id);
  const game = games.get(hand_id);
  const content = type !== "execute" ? "" : game ? play(game, String(input.command ?? name)) : "No such game.";
  message.respond(JSON.stringify({ content, is_error: type === "execute" && !game }));
}
