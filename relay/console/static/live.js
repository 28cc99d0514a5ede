// Shows the page Live, with a card for each running call. The calls come as server-sent events, orders go by POST, and
// the sound for listening in comes on a WebSocket. Each event holds all calls. A card that exists is updated and not
// made again. So a text that the owner is typing stays.
const list = document.getElementById("calls");
const line = document.getElementById("line");
const SURE_MS = 4000;
// 300 ms of silence are played before the sound. The sound comes in pieces of 250 ms, so a piece that is a little late
// leaves no gap.
const AHEAD_BYTES = 8 * 300;
const cards = new Map(); // CallSid -> the call's card
let heard = null; // the call that the owner listens to: { sid, socket, speakers }

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(card, call) {
  for (const element of card.querySelectorAll("[data-show]")) put(element, call[element.dataset.show]);
  card.querySelector("[data-test]").hidden = !call.is_test;
  card.querySelector("[data-agent]").hidden = !call.has_agent;
  const listen = card.querySelector("[data-listen]");
  listen.hidden = !call.can_listen && heard?.sid !== call.sid;
  const said = card.querySelector("[data-said]");
  while (said.children.length > call.said.length) said.lastChild.remove();
  call.said.forEach(([by, words], index) => {
    const turn = said.children[index] ?? said.appendChild(document.createElement("li"));
    turn.className = `line ${by}`;
    put(turn, `${by === "caller" ? "Caller" : "Agent"}: ${words}`);
  });
}

function add(call) {
  const card = document.getElementById("card").content.firstElementChild.cloneNode(true);
  const name = `call of ${call.caller}`;
  card.setAttribute("aria-label", name);
  card.querySelector("a").href = `/console/calls/${encodeURIComponent(call.sid)}`;
  card.querySelector("a").append(` (${call.caller})`);
  for (const button of card.querySelectorAll("[data-order]")) {
    button.addEventListener("click", () => press(card, call.sid, button));
  }
  card.querySelector("[data-listen]").addEventListener("click", () => toggle(card, call.sid));
  card.querySelector("[data-say]").addEventListener("submit", async (event) => {
    event.preventDefault();
    const field = event.target.elements.text;
    if (await order(card, call.sid, "say", new URLSearchParams({ text: field.value }))) field.value = "";
  });
  list.append(card);
  cards.set(call.sid, card);
  return card;
}

// A hang-up cannot be undone, so the owner must press its button twice within SURE_MS.
function press(card, sid, button) {
  if (button.dataset.order === "hang-up" && !button.dataset.sure) {
    const before = button.textContent;
    button.dataset.sure = "yes";
    button.textContent = "Really hang up?";
    setTimeout(() => {
      delete button.dataset.sure;
      button.textContent = before;
    }, SURE_MS);
    return;
  }
  order(card, sid, button.dataset.order);
}

// Sends an order. Returns true if the relay accepted it.
async function order(card, sid, what, body = new URLSearchParams()) {
  const told = card.querySelector(".told");
  put(told, "…");
  try {
    const answer = await fetch(`/console/live/${encodeURIComponent(sid)}/${what}`, { method: "POST", body });
    if (!answer.ok) {
      put(told, (await answer.text()).trim().slice(0, 200));
      return false;
    }
    const { answer: became, words } = await answer.json();
    put(told, words);
    return became === "done" || became === "already";
  } catch {
    put(told, "The relay does not answer. Try again.");
    return false;
  }
}

// Listening in

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function stop(words = "") {
  if (!heard) return;
  const { sid, socket, speakers } = heard;
  heard = null;
  socket?.close();
  for (const speaker of speakers) speaker.close();
  const card = cards.get(sid);
  if (!card) return;
  const button = card.querySelector("[data-listen]");
  button.setAttribute("aria-pressed", "false");
  put(button, "Listen in");
  put(card.querySelector(".told"), words);
}

async function toggle(card, sid) {
  const again = heard?.sid === sid;
  stop();
  if (again) return;
  const mine = { sid, socket: null, speakers: [] };
  heard = mine;
  const button = card.querySelector("[data-listen]");
  button.setAttribute("aria-pressed", "true");
  put(button, "Stop listening");
  put(card.querySelector(".told"), "You hear both sides about one second late.");
  const { Speaker } = await import("/console/static/sound.js");
  const speakers = [await Speaker.open(), await Speaker.open()];
  if (heard !== mine) {
    for (const speaker of speakers) speaker.close();
    return;
  }
  mine.speakers = speakers;
  for (const speaker of speakers) speaker.play(new Uint8Array(AHEAD_BYTES).fill(0xff));
  const url = new URL(`/console/socket/listen/${encodeURIComponent(sid)}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  mine.socket = new WebSocket(url);
  mine.socket.addEventListener("message", ({ data }) => {
    const sound = JSON.parse(data);
    speakers[0].play(bytes(sound.caller));
    speakers[1].play(bytes(sound.agent));
    card.dataset.heard = Number(card.dataset.heard ?? 0) + 1;
  });
  mine.socket.addEventListener("close", ({ reason }) => {
    if (heard === mine) stop(reason ? `Listening has ended: ${reason}.` : "Listening has ended.");
  });
}

// The calls

function update(calls) {
  const running = new Set(calls.map((call) => call.sid));
  for (const [sid, card] of cards) {
    if (running.has(sid)) continue;
    if (heard?.sid === sid) stop();
    card.remove();
    cards.delete(sid);
  }
  for (const call of calls) show(cards.get(call.sid) ?? add(call), call);
  document.getElementById("nobody").hidden = calls.length > 0;
}

const events = new EventSource(list.dataset.events);
events.addEventListener("message", ({ data }) => {
  put(line, "Up to date.");
  update(JSON.parse(data));
});
events.addEventListener("error", async () => {
  if (events.readyState === EventSource.CLOSED) put(line, `Not up to date: ${await refusal()}`);
  else put(line, "Not up to date: the relay does not answer. Trying again …");
});

// Why the relay refused the events. An EventSource does not tell, so this asks once more.
async function refusal() {
  const asked = new AbortController();
  try {
    const answer = await fetch(list.dataset.events, { signal: asked.signal });
    if (!answer.ok) return (await answer.text()).trim().slice(0, 200);
  } catch {
    // The relay does not answer.
  } finally {
    asked.abort(); // Without this, an answer that is not a refusal would use a connection.
  }
  return "load the page again.";
}
window.addEventListener("pagehide", () => stop());
