// For the tests: records the sound that the page "Talk to it" plays, and the messages that it sends.
// The sound goes to the loudspeaker, and also to a MediaStreamDestination, from which it is recorded.
window.tape = { chunks: [], sent: [] };
{
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to === this.context.destination && this.context.sampleRate === 8000) record(this);
    return connect.call(this, to, ...rest);
  };
  const record = (node) => {
    const out = node.context.createMediaStreamDestination();
    connect.call(node, out);
    const ear = new AudioContext({ sampleRate: 8000 });
    const tap = ear.createScriptProcessor(4096, 1, 1); // 4096 samples are half a second, so no sound is lost if the page is late
    tap.onaudioprocess = ({ inputBuffer }) => {
      tape.chunks.push([performance.now(), inputBuffer.getChannelData(0).slice()]);
    };
    connect.call(ear.createMediaStreamSource(out.stream), tap);
    connect.call(tap, ear.destination);
    tape.ear = ear;
  };
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (message) {
    const told = JSON.parse(message);
    if (told.kind === "audio") tape.sent.push([performance.now(), told.ms, told.mulaw]);
    return send.call(this, message);
  };
  tape.played = () => {
    const bytes = new Uint8Array(tape.chunks.length * 8192);
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (const [, chunk] of tape.chunks) for (const sample of chunk) { view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true); at += 2; }
    let text = "";
    for (let from = 0; from < bytes.length; from += 8192) text += String.fromCharCode(...bytes.subarray(from, from + 8192));
    return { pcm: btoa(text), from: tape.chunks[0]?.[0], times: tape.chunks.map((each) => each[0]) };
  };
}
