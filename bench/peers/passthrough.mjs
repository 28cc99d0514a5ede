// A plain relay for comparison. It passes mu-law from Twilio to the model and back unchanged, like Twilio's sample.
// It has no DSP, no playout and no ledger. fastify serves the webhook, and ws serves the sockets. Environment: PORT, MODEL_URL.
import Fastify from "fastify";
import formbody from "@fastify/formbody";
import websocket from "@fastify/websocket";
import WebSocket from "ws";

const { PORT, MODEL_URL } = process.env;
const app = Fastify();
app.register(formbody);
app.register(websocket);

const session = {
  type: "realtime",
  output_modalities: ["audio"],
  instructions: "You are a helpful voice on the phone.",
  audio: {
    input: { format: { type: "audio/pcmu" }, turn_detection: { type: "server_vad" } },
    output: { format: { type: "audio/pcmu" }, voice: "alloy" },
  },
};

app.all("/incoming", async (request, reply) => {
  const twiml = `<?xml version="1.0"?><Response><Connect><Stream url="ws://${request.headers.host}/media" /></Connect></Response>`;
  reply.type("text/xml").send(twiml);
});

app.register(async (sockets) => {
  sockets.get("/media", { websocket: true }, (caller) => {
    let streamSid = null;
    const model = new WebSocket(MODEL_URL, { headers: { Authorization: "Bearer sk-load" } });
    const toModel = (message) => {
      if (model.readyState === WebSocket.OPEN) model.send(JSON.stringify(message));
    };
    model.on("open", () => toModel({ type: "session.update", session }));
    model.on("message", (data) => {
      const message = JSON.parse(data);
      if (message.type === "response.output_audio.delta" && message.delta) {
        caller.send(JSON.stringify({ event: "media", streamSid, media: { payload: message.delta } }));
        caller.send(JSON.stringify({ event: "mark", streamSid, mark: { name: "delta" } }));
      } else if (message.type === "input_audio_buffer.speech_started") {
        caller.send(JSON.stringify({ event: "clear", streamSid }));
      }
    });
    caller.on("message", (data) => {
      const message = JSON.parse(data);
      if (message.event === "media") {
        toModel({ type: "input_audio_buffer.append", audio: message.media.payload });
      } else if (message.event === "start") {
        streamSid = message.start.streamSid;
      }
    });
    caller.on("close", () => model.close());
    model.on("close", () => caller.close());
    model.on("error", (error) => console.error(error.message));
  });
});

app.listen({ port: Number(PORT), host: "127.0.0.1" });
