// Plays and records the sound of a call in the browser, as mu-law at 8 kHz. Player and Microphone run in the browser's
// audio thread, not in the page's thread.

const RATE = 8000;
const FRAME = 160; // samples: 20 ms

function toLinear(byte) { // G.711 mu-law to -1..1
  const code = ~byte & 0xff;
  const size = ((((code & 15) << 3) + 132) << ((code >> 4) & 7)) - 132;
  return (code & 128 ? -size : size) / 32768;
}

function toMulaw(sample) { // -1..1 to G.711 mu-law
  const value = Math.max(-32635, Math.min(32635, Math.round(sample * 32768)));
  const size = Math.abs(value) + 132;
  const exponent = 31 - Math.clz32(size) - 7;
  return ~((value < 0 ? 128 : 0) | (exponent << 4) | ((size >> (exponent + 3)) & 15)) & 0xff;
}

// Plays mu-law in an 8 kHz context, in which one byte is one sample. A mark is sent back when the audio before it has
// left the loudspeaker, or was cleared. The marks tell the relay what was heard. `late` is the delay from here to the
// loudspeaker, in samples.
class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = []; // pieces of mu-law and names of marks, in the order in which they came
    this.at = 0; // the next byte of the first piece
    this.marks = []; // marks whose audio is on the way to the loudspeaker: { name, left (samples) }
    this.late = 0;
    this.plays = false;
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take({ mulaw, mark, clear, late }) {
    if (late !== undefined) this.late = late;
    if (mulaw) this.queue.push(mulaw);
    if (mark !== undefined) this.queue.push(mark);
    if (clear) {
      const names = [...this.marks.map((each) => each.name), ...this.queue.filter((each) => typeof each === "string")];
      this.queue = [];
      this.marks = [];
      this.at = 0;
      for (const mark of names) this.port.postMessage({ mark });
    }
  }

  next() {
    for (let first = this.queue[0]; first !== undefined; first = this.queue[0]) {
      if (typeof first === "string") this.marks.push({ name: first, left: this.late + this.block });
      else if (this.at < first.length) return toLinear(first[this.at++]);
      this.queue.shift();
      this.at = 0;
    }
    return 0;
  }

  process(_, [[out]]) {
    const plays = this.queue.some((each) => typeof each !== "string");
    for (this.block = 0; this.block < out.length; this.block++) out[this.block] = this.next();
    for (const mark of this.marks) mark.left -= out.length;
    while (this.marks.length && this.marks[0].left <= 0) this.port.postMessage({ mark: this.marks.shift().name });
    if (plays !== this.plays) this.port.postMessage({ plays: (this.plays = plays) });
    return true;
  }
}

// Converts any sample rate to 8 kHz, with a windowed sinc: 12 zero crossings on each side, flat up to 3.4 kHz. 64
// phases are enough for a voice.
class Down {
  constructor(rate) {
    const cutoff = 3700 / rate;
    this.step = rate / RATE;
    this.half = Math.ceil(6 / cutoff);
    this.phases = Array.from({ length: 64 }, (_, phase) => {
      const taps = Float32Array.from({ length: 2 * this.half }, (__, tap) => {
        const x = tap - this.half + 1 - phase / 64;
        const sinc = x === 0 ? 2 * cutoff : Math.sin(2 * Math.PI * cutoff * x) / (Math.PI * x);
        return sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / this.half));
      });
      const whole = taps.reduce((sum, tap) => sum + tap, 0);
      return taps.map((tap) => tap / whole);
    });
    this.held = new Float32Array(2 * this.half);
    this.place = this.half; // position in `held` of the next sample at 8 kHz
  }

  feed(block, take) {
    const held = new Float32Array(this.held.length + block.length);
    held.set(this.held);
    held.set(block, this.held.length);
    for (; this.place + this.half < held.length; this.place += this.step) {
      const whole = Math.floor(this.place);
      const taps = this.phases[Math.floor((this.place - whole) * 64)];
      let sum = 0;
      for (let tap = 0; tap < taps.length; tap++) sum += taps[tap] * held[whole - this.half + 1 + tap];
      take(sum);
    }
    const done = Math.max(0, Math.floor(this.place) - this.half);
    this.held = held.slice(done);
    this.place -= done;
  }
}

// Sends frames of 20 ms with their stream time. Without a microphone the frames are silent. A clip replaces the
// microphone's sound until the clip is over.
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.down = new Down(sampleRate);
    this.silence = new Float32Array(128);
    this.clip = [];
    this.at = 0;
    this.frame = new Uint8Array(FRAME);
    this.filled = 0;
    this.peak = 0;
    this.ms = 0;
    this.port.onmessage = ({ data }) => {
      this.clip = data.clip;
      this.at = 0;
    };
  }

  take(sample) {
    const fromClip = this.at < this.clip.length;
    const byte = fromClip ? this.clip[this.at++] : toMulaw(sample);
    if (fromClip && this.at === this.clip.length) this.port.postMessage({ clipIsOver: true });
    this.peak = Math.max(this.peak, Math.abs(toLinear(byte)));
    this.frame[this.filled++] = byte;
    if (this.filled < FRAME) return;
    this.port.postMessage({ mulaw: this.frame, ms: this.ms, peak: this.peak });
    this.frame = new Uint8Array(FRAME);
    this.filled = this.peak = 0;
    this.ms += (1000 * FRAME) / RATE;
  }

  process([[input]]) {
    this.down.feed(input ?? this.silence, (sample) => this.take(sample));
    return true;
  }
}

registerProcessor("player", Player);
registerProcessor("microphone", Microphone);
