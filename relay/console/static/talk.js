// Runs the page "Talk to it": a call from this browser. The relay's side is relay/console/talk.py and
// relay/server/browser_calls.py. relay/browser/browser_protocol.py defines the messages on the socket.
import { Microphone, Speaker, toBase64, toBytes } from "./sound.js";

const CONGESTED_BYTES = 64_000; // if more than this waits for the network, new frames are not sent; the relay fills the gap
const part = (id) => document.getElementById(id);
const page = part("talk");
const says = (words) => { part("state").textContent = words; };

let call = null; // the running call: { speaker, microphone, send }

function tell(words, kind = "") {
  const line = document.createElement("p");
  line.className = `card ${kind}`;
  line.textContent = words;
  part("told").replaceChildren(line);
  return line;
}

function noMicrophone(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The browser was not allowed to use the microphone. Allow it beside the address of this page, then call again.";
    case "NotFoundError":
      return "This computer has no microphone. Plug one in, then call again.";
    case "NotReadableError":
      return "The microphone cannot be opened: another program may be using it. Close that, then call again.";
    default:
      return `The microphone cannot be opened (${error.name}).`;
  }
}

async function openMicrophone() {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } });
  } catch (error) {
    throw new Error(noMicrophone(error));
  }
}

async function toldBy(answer) {
  if (answer.headers.get("Content-Type")?.startsWith("application/json")) return answer.json();
  return { words: `The relay answered with status ${answer.status}. Load this page again.` }; // for example 401 (signed out) or 503 (the relay restarts)
}

async function ring() {
  const answer = await fetch("/console/talk/call", { method: "POST", body: new FormData(part("wishes")) });
  const told = await toldBy(answer);
  if (!told.socket) throw new Error(told.words);
  return told;
}

async function begin() {
  part("told").replaceChildren();
  if (!window.isSecureContext) {
    const where = `http://localhost:${location.port || 80}/console/talk`;
    tell(`A browser allows a page to use microphone and sound only over https, or from this machine itself (${where}). This page was loaded over plain http.`, "bad");
    return;
  }
  part("begin").disabled = true;
  let stream = null;
  let speaker = null;
  let microphone = null;
  try {
    says("Asking for the microphone…");
    try {
      stream = await openMicrophone();
    } catch (error) {
      if (!page.dataset.clips) throw error;
      tell(`${error.message} You can still use the sentences below.`, "bad");
    }
    says("Ringing…");
    speaker = await Speaker.open();
    microphone = await Microphone.open(stream);
    for (const track of stream?.getTracks() ?? []) {
      track.onended = () => tell("The microphone is no longer available, so the agent hears nothing. Hang up and call again.", "bad");
    }
    connect(await ring(), speaker, microphone);
  } catch (error) {
    speaker?.close();
    microphone?.close();
    if (!microphone) stream?.getTracks().forEach((track) => track.stop());
    tell(error.message, "bad");
    rest();
  }
}

function connect({ socket: path, end }, speaker, microphone) {
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}${path}`);
  const send = (message) => { if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message)); };
  call = { speaker, microphone, send };
  speaker.onmark = (name) => send({ kind: "mark", name });
  speaker.onplays = (plays) => says(plays ? "The agent speaks." : "The agent listens.");
  microphone.onframe = (mulaw, ms, peak) => {
    part("level").value = Math.sqrt(peak); // the square root is closer to how loud a person hears the sound
    if (socket.bufferedAmount < CONGESTED_BYTES) send({ kind: "audio", ms, mulaw: toBase64(mulaw) });
  };
  microphone.onclipisover = () => offerClips(true);
  socket.onopen = () => {
    says("Connected.");
    offerClips(true);
    part("begin").hidden = true;
    part("end").hidden = false;
    part("end").focus();
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.kind === "audio") speaker.play(toBytes(message.mulaw));
    else if (message.kind === "mark") speaker.mark(message.name);
    else if (message.kind === "clear") speaker.clear();
  };
  socket.onclose = ({ code, reason }) => over(end, code, reason);
}

async function over(end, code, reason) {
  call.speaker.close();
  call.microphone.close();
  call = null;
  rest();
  if (code !== 1000 && reason) tell(`The connection ended: ${reason}`, "bad");
  try {
    const told = await toldBy(await fetch(end));
    const line = tell(`${told.words} `);
    if (!told.href) return;
    const link = document.createElement("a");
    link.href = told.href;
    link.textContent = "Read the call";
    line.append(link);
  } catch (error) {
    tell(error.message, "bad");
  }
}

function offerClips(are) {
  for (const button of part("clips")?.querySelectorAll("button") ?? []) button.disabled = !are;
}

function rest() {
  part("begin").hidden = part("begin").disabled = false;
  part("end").hidden = true;
  part("level").value = 0;
  offerClips(false);
  says("No call is running.");
}

part("begin").addEventListener("click", begin);
part("end").addEventListener("click", () => call?.send({ kind: "hang_up" }));
part("keys").addEventListener("click", ({ target }) => { if (target.dataset.key) call?.send({ kind: "key", digit: target.dataset.key }); });
part("clips")?.addEventListener("click", async ({ target }) => {
  if (!target.dataset.clip || !call) return;
  offerClips(false);
  const answer = await fetch(`/console/talk/clips/${target.dataset.clip}`);
  call?.microphone.say(new Uint8Array(await answer.arrayBuffer()));
});
