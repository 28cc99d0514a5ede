"""A relay made of Pipecat's Twilio serializer and Realtime service, for comparison.

It runs in a virtual environment of its own and imports nothing of the project. Environment variables: PORT, MODEL_URL.
"""
# mypy: ignore-errors

import json
import os

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from loguru import logger
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport

logger.remove()
app = FastAPI()


@app.post("/incoming")
async def incoming(request: Request) -> Response:
    """Answer with the TwiML that opens the stream."""
    url = f"ws://{request.headers['host']}/media"
    return Response(f'<Response><Connect><Stream url="{url}" /></Connect></Response>', media_type="text/xml")


@app.websocket("/media")
async def media(socket: WebSocket) -> None:
    """Serve one call."""
    await socket.accept()
    start = {}
    while "start" not in start:
        start = json.loads(await socket.receive_text())
    serializer = TwilioFrameSerializer(
        stream_sid=start["start"]["streamSid"],
        call_sid=start["start"]["callSid"],
        params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
    )
    transport = FastAPIWebsocketTransport(
        websocket=socket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True, audio_out_enabled=True, add_wav_header=False, serializer=serializer
        ),
    )
    model = OpenAIRealtimeLLMService(api_key="sk-load", base_url=os.environ["MODEL_URL"])
    both = LLMContextAggregatorPair(LLMContext([{"role": "user", "content": "Say hello."}]))
    task = PipelineTask(
        Pipeline([transport.input(), both.user(), model, transport.output(), both.assistant()]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        cancel_on_idle_timeout=False,
    )

    @transport.event_handler("on_client_connected")
    async def connected(_transport, _client) -> None:
        await task.queue_frames([LLMRunFrame()])

    await PipelineRunner(handle_sigint=False).run(task)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
