// OpenAI's Agents SDK for JavaScript with Twilio, set up as in its documentation. Environment: PORT, MODEL_URL.
import Fastify from "fastify";
import formbody from "@fastify/formbody";
import websocket from "@fastify/websocket";
import { RealtimeAgent, RealtimeSession } from "@openai/agents/realtime";
import { TwilioRealtimeTransportLayer } from "@openai/agents-extensions";

const { PORT, MODEL_URL } = process.env;
const app = Fastify();
app.register(formbody);
app.register(websocket);

app.all("/incoming", async (request, reply) => {
  const twiml = `<?xml version="1.0"?><Response><Connect><Stream url="ws://${request.headers.host}/media" /></Connect></Response>`;
  reply.type("text/xml").send(twiml);
});

app.register(async (sockets) => {
  sockets.get("/media", { websocket: true }, async (caller) => {
    const agent = new RealtimeAgent({ name: "Robin", instructions: "You are a helpful voice on the phone." });
    const transport = new TwilioRealtimeTransportLayer({ twilioWebSocket: caller });
    const config = { audio: { input: { format: "g711_ulaw" }, output: { format: "g711_ulaw", voice: "alloy" } } };
    const session = new RealtimeSession(agent, { transport, model: "gpt-realtime", config, tracingDisabled: true });
    session.on("error", () => {});
    await session.connect({ apiKey: "sk-load", url: MODEL_URL });
    caller.on("close", () => session.close());
  });
});

app.listen({ port: Number(PORT), host: "127.0.0.1" });
