"""A guided tour: one caller frame and one model delta through every room, one assertion a room, in order."""

from __future__ import annotations

import base64

import msgspec
import pybase64

import dsp
from relay.call.actions import Play
from relay.call.call_config import CallPlan, Greeting, Limits, Phrase, Price
from relay.call.escalation import Rules
from relay.call.machine import Machine
from relay.call.vocabulary import (
    CallerArrived,
    ItemId,
    ModelReady,
    ModelSpoke,
    ResponseBegan,
    ResponseId,
    StreamSid,
)
from relay.realtime import protocol as model_dialect
from relay.twilio import media_protocol as caller_dialect

_PRICE = Price(1, 1, 1, 1, 1, 1)
_TONE = bytes([0x90, 0x10] * 80)  # 20 ms at 4 kHz, loud


def _machine() -> Machine:
    silent = Greeting(Phrase("", b""), Phrase("", b""))
    plan = CallPlan("CA1", silent, {}, Limits(), Rules(), "m", "h", _PRICE, _PRICE, 0.0, keep_words=True)
    machine = Machine(plan)
    machine.handle(CallerArrived(StreamSid("MZ1")), 10.0)
    machine.handle(ModelReady("sess_1", "m"), 10.0)
    return machine


def test_uplink_frame_from_twilios_message_to_the_models_append() -> None:
    # relay/transport/wire.py and relay/transport/websocket.py hand over the message as it came.
    message = (
        b'{"event":"media","sequenceNumber":"4","media":{"track":"inbound","chunk":"2","timestamp":"155","payload":"'
        + base64.b64encode(_TONE)
        + b'"},"streamSid":"MZ1"}'
    )
    # relay/twilio/media_protocol.py: their JSON to a frame, its audio already bytes.
    frame = caller_dialect.parse(message)
    assert isinstance(frame, caller_dialect.Frame)
    assert (frame.mulaw, frame.media_ms) == (_TONE, 155)
    # relay/call/machine.py: by its level; nothing is due while nobody speaks.
    assert _machine().caller_audio(dsp.level_dbfs(frame.mulaw), 20, 10.02) == []
    # dsp/line.py: 160 bytes of mu-law to 480 samples at 24 kHz, at once.
    pcm24k = dsp.Uplink().feed(frame.mulaw)
    assert len(pcm24k) == 960
    # relay/realtime/protocol.py: their JSON again, for the model's end to send.
    sent = msgspec.json.decode(model_dialect.append_audio(pybase64.b64encode(pcm24k)))
    assert sent == {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm24k).decode()}


def test_downlink_delta_from_the_models_event_to_twilios_media_and_mark() -> None:
    pcm24k = dsp.Uplink().feed(_TONE * 13)[:12_000]  # 250 ms, the model's usual delta
    event = {
        "type": "response.output_audio.delta",
        "event_id": "event_1",
        "response_id": "resp_1",
        "item_id": "item_1",
        "output_index": 0,
        "content_index": 0,
        "delta": base64.b64encode(pcm24k).decode(),
    }
    # relay/realtime/protocol.py: only what is needed is decoded.
    message = model_dialect.decode(msgspec.json.encode(event))
    assert (message.type, message.response_id, message.item_id) == (model_dialect.AUDIO_DELTA, "resp_1", "item_1")
    # dsp/line.py: 6,000 samples at 24 kHz to 2,000 bytes of mu-law.
    mulaw = dsp.Downlink().feed(pybase64.b64decode(message.delta or ""))
    assert len(mulaw) == 2_000
    # relay/call/machine.py, playout.py: whole frames at once, a mark behind each burst; the first after 20 ms.
    machine = _machine()
    machine.handle(ResponseBegan(ResponseId("resp_1"), None), 10.1)
    actions = machine.handle(ModelSpoke(ResponseId("resp_1"), ItemId("item_1"), mulaw, 250.0), 10.2)
    plays = [action for action in actions if isinstance(action, Play)]
    assert [len(play.mulaw) for play in plays] == [160, 1_760]  # 80 bytes wait for the rest of their frame
    assert b"".join(play.mulaw for play in plays) == mulaw[:1_920]
    # relay/twilio/media_protocol.py: their JSON, for the caller's end to send.
    media = msgspec.json.decode(caller_dialect.media("MZ1", plays[0].mulaw))
    assert media == {
        "event": "media",
        "streamSid": "MZ1",
        "media": {"payload": base64.b64encode(mulaw[:160]).decode()},
    }
    mark = msgspec.json.decode(caller_dialect.mark("MZ1", plays[0].mark or ""))
    assert mark == {"event": "mark", "streamSid": "MZ1", "mark": {"name": plays[0].mark}}
