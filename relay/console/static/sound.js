// Opens a loudspeaker and a microphone for mu-law at 8 kHz. sound-worklet.js does the work on the samples.
const WORKLET = "/console/static/sound-worklet.js";

async function openContext(options) {
  const context = new AudioContext({ latencyHint: "interactive", ...options });
  await context.audioWorklet.addModule(WORKLET);
  await context.resume();
  return context;
}

export const toBytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
export const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));

// Plays mu-law. Calls `onmark(name)` when the audio before this mark was heard, or was cleared. Calls `onplays(true)`
// when sound begins, and `onplays(false)` when it ends.
export class Speaker {
  static async open() {
    return new Speaker(await openContext({ sampleRate: 8000 }));
  }

  constructor(context) {
    this.context = context;
    this.onmark = this.onplays = () => {};
    this.node = new AudioWorkletNode(context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => (data.mark === undefined ? this.onplays(data.plays) : this.onmark(data.mark));
    this.node.connect(context.destination);
  }

  play(mulaw) {
    const lateS = (this.context.baseLatency || 0) + (this.context.outputLatency || 0);
    this.node.port.postMessage({ mulaw, late: Math.round(lateS * 8000) });
  }

  mark(name) {
    this.node.port.postMessage({ mark: name });
  }

  clear() {
    this.node.port.postMessage({ clear: true });
  }

  close() {
    return this.context.close();
  }
}

// Calls `onframe(mulaw, ms, peak)` with each 20 ms of mu-law. Without a stream the frames are silent.
export class Microphone {
  static async open(stream) {
    return new Microphone(await openContext({}), stream);
  }

  constructor(context, stream) {
    this.context = context;
    this.stream = stream;
    this.onframe = this.onclipisover = () => {};
    this.node = new AudioWorkletNode(context, "microphone", { outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => (data.clipIsOver ? this.onclipisover() : this.onframe(data.mulaw, data.ms, data.peak));
    if (stream) context.createMediaStreamSource(stream).connect(this.node);
    this.node.connect(context.destination); // the node outputs silence, but a browser runs only connected nodes
  }

  // Sends this mu-law instead of the microphone's sound.
  say(clip) {
    this.node.port.postMessage({ clip });
  }

  close() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    return this.context.close();
  }
}
