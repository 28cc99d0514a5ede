"""Runs one stream of a call: gives events to the machine (call/machine.py), and carries out the machine's actions.

One nursery has three tasks:

    Twilio reader   takes the caller's audio, marks and digits             ends with the caller's socket
    OpenAI reader   takes the model's messages, and opens a lost model     ends when no model is wanted any more
                    session again
    watchdog        checks limits and silence, and fills gaps in the       ends with the stream
                    caller's audio

While the model's socket takes audio, the caller's audio waits in no queue: the function that reads a frame also sends
it. The model's audio waits in the playout (call/playout.py). Each reader registers a function for its socket
(transport/hub.py), so no task is woken for a message. Work that takes time is a task of its own in the same nursery: a
function call, a wait for a full socket, a close. The model's socket is closed without waiting for the caller's socket.
So a caller's socket that hangs cannot keep a paid session open.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog
import trio

from relay.call.actions import (
    Action,
    AnswerOwner,
    AskForResponse,
    CancelResponse,
    ClearPlayback,
    CreateFunctionPair,
    CreateItem,
    DeleteItem,
    DialBeside,
    DialModel,
    ForgetNext,
    HangUp,
    KeepAudio,
    LearnGreeting,
    LeaveStream,
    Play,
    RecordConsent,
    RecordTurn,
    ReleaseModel,
    Report,
    RunFunction,
    SendFunctionOutput,
    SendSilence,
    StopKeepingWords,
    SwitchModel,
    TruncateItem,
    UseOwnVoice,
)
from relay.call.machine import Machine, Phase
from relay.call.vocabulary import (
    CallerArrived,
    CallerLeft,
    CallerProtocolError,
    DayMoneyShort,
    DigitPressed,
    DrainBegan,
    EndReason,
    Event,
    ItemId,
    MarkReturned,
    ModelLost,
    ModelReady,
    Order,
    OrderAnswer,
    ResponseId,
    StreamSid,
    Ticked,
)
from relay.functions import PauseRecording, ResumeRecording
from relay.realtime import protocol as model_dialect
from relay.realtime.client import ModelSession, ModelUnreachable
from relay.recordings import Recorder
from relay.session.call_file import CallFile
from relay.session.call_rows import CallRows
from relay.session.caller_probe import PROBE_MARK, CallerProbe
from relay.session.caller_protocol import CallerProtocol
from relay.session.context import Desk
from relay.session.downlink import AnswerAudio
from relay.session.function_runner import FunctionRunner
from relay.session.leaving import close_behind_last_words, hang_up
from relay.session.model_connector import ModelConnector
from relay.session.owner_orders import OwnerOrders
from relay.session.spoken_answers import SpokenAnswers
from relay.session.uplink import CallerAudio, silence
from relay.transport.overload import pace
from relay.transport.websocket import Gone, WebSocketEnd
from relay.twilio import media_protocol
from relay.twilio.media_protocol import Event as CallerEvent
from relay.twilio.media_protocol import Frame, Stopped

log = structlog.get_logger()

# Until the first audio was written and the model is ready, the watchdog ticks this often, in seconds. A tick starts the
# clip of the greeting 150 ms after the stream began (call/greeting.py), and must not be late.
FIRST_TICKS_S = 0.025
# How many seconds caller audio may be ahead of the clock. It is a little ahead if the first frame came late. No phone
# is further ahead than this. If the audio is, the call is ended, because the model charges for each second of audio.
AHEAD_LIMIT_S = 10.0
# Twilio's stop message and its callback come on different connections. After the callback, the relay waits this long
# for the stop message.
SOCKET_SPEAKS_FIRST_S = 1.0
SILENCE_DBFS = -100.0
# While the loop is behind, a read of the caller's socket waits for this many bytes. Twilio's media message has 360 to
# 400 bytes, and its mark 110. So one frame alone is not enough, but a frame and a mark are.
TWO_FRAMES_BYTES = 450
# If more bytes than this wait for the model's socket (a quarter of a second of audio), it is congested. Then new audio
# waits in `CallerAudio`. The oldest audio can be dropped there.
CONGESTED_BYTES = 16_384


def why_left(gone: Gone) -> EndReason:
    """Why the caller's socket has ended."""
    if gone.code in (1000, 1001, 1005):
        return EndReason.CALLER_HUNG_UP
    return EndReason.CALLER_SOCKET_STALLED if "does not read" in gone.reason else EndReason.CALLER_SOCKET_LOST


class CallSession:
    """Runs one stream of one call. `dialect` is the protocol on the caller's socket."""

    def __init__(
        self,
        desk: Desk,
        file: CallFile,
        stream_sid: StreamSid,
        caller: WebSocketEnd,
        *,
        dialect: CallerProtocol = media_protocol,
    ) -> None:
        started_at = trio.current_time()
        self._desk = desk
        self._file = file
        self.stream_sid = stream_sid
        self._caller = caller
        self._dialect = dialect
        self._metrics = desk.metrics_of(file)
        self.machine = Machine(desk.plan(file))
        file.consent = self.machine.call.consent
        self.rows = CallRows(desk, file, self.machine, started_at)
        self._model: ModelSession | None = None
        self._drains = False  # True while a task waits until the model's socket has taken everything.
        # False until the machine has handled `ModelReady` of a new session. Until then, caller audio waits.
        self._hears = False
        self._connector = ModelConnector(desk, file, self.machine)
        self._uplink = CallerAudio()
        self._answers = AnswerAudio()
        self._spoken: SpokenAnswers | None = None  # None if the model itself speaks, and no voice service.
        if desk.voices_for(file) is not None:
            self._spoken = SpokenAnswers(self._feed, self.machine.wants, self._answers.sounds, self.machine.is_early)
        self._recorder = self._recorder_of(file, started_at)
        self._gathers = False  # True while the caller's socket is read two frames at a time.
        self._probe = CallerProbe(started_at)
        self._start: Callable[..., None] = lambda *_: None
        self._orders = OwnerOrders(file.call_sid, self._feed)
        self._scope = trio.CancelScope()
        self._is_leaving = False  # True while the caller's socket is being closed, after the last words were sent.
        self._functions = FunctionRunner(desk, file, self.machine, self.rows)

    def _recorder_of(self, file: CallFile, now: float) -> Recorder | None:
        file.began_at = now if file.began_at is None else file.began_at
        if self._desk.recordings is None:
            return None
        return self._desk.recordings.recorder(file.call_sid, file.began_at, self._desk.utc_now(), file.consent)

    async def run(self) -> None:
        """Run the stream until it has ended. An error is logged and not raised.

        The end reason is then RELAY_FAULT, if no other was decided before.
        """
        failure: BaseException | None = None
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._start = nursery.start_soon
                    self._feed(CallerArrived(self.stream_sid))
                    for order in self._file.take_orders():
                        self._feed(order)
                    nursery.start_soon(self._read_caller, name="Twilio reader")
                    nursery.start_soon(self._read_model, name="OpenAI reader")
                    nursery.start_soon(self._watch, name="watchdog")
        except* Exception as group:
            failure = group.exceptions[0]
            log.error("call.broke", words="a bug of the relay: the agent or a human goes on", exc_info=failure)
            if self.machine.ending is None:
                self.machine.handle(CallerLeft(EndReason.RELAY_FAULT), trio.current_time())
        finally:
            if self.machine.ending is None:  # The task was cancelled from outside: the process stops.
                self.machine.handle(CallerLeft(EndReason.DRAINED), trio.current_time())
            self._stop_recording(by_caller=False)
            self.close_rows()
            model, self._model = self._model, None
            if model is not None:
                await model.end.close()
            await self._connector.close()
            self._metrics.padded_ms.inc(self._uplink.gaps.padded_ms)
            await self._caller.close(1011 if failure else 1000)

    # What the rest of the process calls (call_file.Stream)

    @property
    def is_decided(self) -> bool:
        """True once it is known how the stream ended."""
        return self.rows.is_decided

    def end(self, reason: EndReason) -> None:
        """Twilio reports that the stream has ended. This counts even if the socket is still open."""
        self._stop_recording(by_caller=True)
        self._feed(CallerLeft(reason))

    def end_unless_told(self, reason: EndReason) -> None:
        """See call_file.Stream."""
        self._start(self._end_unless_told, reason)

    async def _end_unless_told(self, reason: EndReason) -> None:
        await trio.sleep(SOCKET_SPEAKS_FIRST_S)
        if not self.is_decided:
            self.end(reason)

    @property
    def recorder(self) -> Recorder | None:
        """The recorder of this stream. None if calls are not recorded."""
        return self._recorder

    async def order(self, order: Order) -> OrderAnswer:
        """Carry out an order of the owner.

        A task of the call does it, so the owner's request may be cancelled meanwhile.
        """
        return await self._orders.order(order, self._start)

    def close_rows(self) -> None:
        """Write the last rows and stop.

        Called after the stream's end, and by the call's next stream if this stream takes too long.
        """
        for waited in self._spoken.forget() if self._spoken is not None else ():
            # The ends of responses that the voice has not spoken to their end. They hold the tokens, which count for
            # the bill.
            self.machine.handle(waited, trio.current_time())
        self.rows.close()
        self._file.stream_closes(self)
        self._scope.cancel()

    # Twilio reader

    async def _read_caller(self) -> None:
        """Reads the caller's socket. May be cancelled anywhere. Ends with the socket."""
        try:
            await self._caller.hand_over(self._take)
        except Gone as gone:
            self._stop_recording(by_caller=True)
            self._feed(CallerLeft(why_left(gone)))

    def _take(self, messages: list[bytes]) -> bool:
        """Take messages that arrived together. Consecutive frames become one append.

        Returns True, so that the hub calls it again.
        """
        frames: list[Frame] = []
        for message in messages:
            try:
                what = self._dialect.parse(message)
            except CallerProtocolError as error:
                self._metrics.bad_messages.labels(self._dialect.NAME).inc()
                log.warning(f"{self._dialect.NAME}.bad_message", words=str(error))
                continue
            if type(what) is Frame:
                frames.append(what)
                continue
            if frames:
                self._caller_spoke(frames)
                frames = []
            self._take_event(what)
        if frames:
            self._caller_spoke(frames)
        return True

    def _take_event(self, what: Frame | CallerEvent | None) -> None:
        self._probe.heard_at = trio.current_time()
        match what:
            case MarkReturned(name) if name == PROBE_MARK:
                pass
            case MarkReturned() | DigitPressed():
                if self._recorder is not None and isinstance(what, MarkReturned):
                    self._recorder.marked(what.name, trio.current_time())
                self._feed(what)
            case Stopped():
                self._stop_recording(by_caller=True)
                self._feed(CallerLeft(EndReason.CALLER_HUNG_UP))
            case None:
                self._metrics.unknown_events.labels(self._dialect.NAME).inc()
            # `connected` and `start` have no case here, because they were read before this session began.

    def _caller_spoke(self, frames: list[Frame]) -> None:
        if self._gathers is not pace.is_behind:
            self._gathers = pace.is_behind
            self._caller.gather(TWO_FRAMES_BYTES if self._gathers else 1)
        now = self._probe.heard_at = trio.current_time()
        if self._recorder is not None:
            self._recorder.caller(frames, now)
        model = self._listening_model()
        levels, mulaw, append = self._uplink.hear(frames, now, paired=self._gathers, append=model is not None)
        actions: list[Action] = []
        for ms, level_dbfs in levels:
            actions += self.machine.caller_audio(level_dbfs, ms, now)
        if actions and self._perform(actions, append):
            return
        if model is None or self._model is not model or not self._post_to_model([append]):
            self._keep(mulaw)

    def _listening_model(self) -> ModelSession | None:
        """The model, if it can take caller audio now.

        None if there is no model session, if the machine does not know the session yet, or if its socket is congested.

        The code that calls this method keeps the audio then, so that no task waits.
        """
        model = self._model
        if model is None or not self._hears:
            return None
        is_congested = self._drains and (self._uplink.is_waiting or model.end.waiting_bytes > CONGESTED_BYTES)
        return None if is_congested else model

    def _keep(self, mulaw: bytes) -> None:
        self._metrics.dropped_frames_ms.inc(self._uplink.keep(mulaw))

    def _post_to_model(self, messages: list[bytes]) -> bool:
        """Send to the model without waiting for it.

        False if its socket is closed (the OpenAI reader then gets the reason), or if there is no model or no message.
        """
        model = self._model
        if model is None or not messages:
            return False
        try:
            if model.end.post(*messages):
                self._drains = True
                self._start(self._drain_model, model)
        except Gone:
            return False
        return True

    async def _drain_model(self, model: ModelSession) -> None:
        """Wait until the model's socket has taken everything. Then send it the caller audio that has waited.

        This is a task of its own, so that no other task has to wait. It may be cancelled when the call ends.
        """
        try:
            while True:
                await model.end.drain()
                if self._model is not model or not self._hears or not (waiting := self._uplink.take()):
                    return
                if not model.end.post(self._uplink.append(waiting)):
                    return
        except Gone:
            # The OpenAI reader gets the same error. If another session is opened, it gets the audio that waits.
            pass
        finally:
            self._drains = False

    # OpenAI reader

    async def _read_model(self) -> None:
        """Read one model session after the other, and beside it the voice service if there is one.

        Ends when no session is wanted.
        """
        voices = self._desk.voices_for(self._file)
        if self._spoken is None or voices is None:
            await self._read_sessions()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._spoken.run, voices, self._file.call_sid, name="voice reader")
            await self._read_sessions()
            nursery.cancel_scope.cancel()

    async def _read_sessions(self) -> None:
        """Read one session after the other. May be cancelled anywhere."""
        while True:
            try:
                session = await self._connector.next_session()
            except ModelUnreachable as error:
                hears = "the greeting, or a pause; a human if the next attempts fail, too"
                do = {"do": error.do} if error.do else {}
                log.warning("model.unreachable", words=str(error), caller_hears=hears, **do)
                self._feed(ModelLost(0, str(error)))
                continue
            if session is None:
                return
            await self._serve_model(session)

    async def _serve_model(self, session: ModelSession) -> None:
        """Use one session until it has ended or the machine wants another one.

        Later messages of this session are dropped.
        """
        self._model, self._hears = session, False
        # This session was opened to write text for the voice service. The service was lost since then, so the model
        # must speak.
        if session.writes and self._spoken is None:
            self._post_to_model([model_dialect.SPEAK])
        try:
            self._feed(ModelReady(session.id, session.model, session.greeting_asked))
            self._hears = True
            waiting = self._uplink.begin()
            if waiting and (self._listening_model() is None or not self._post_to_model([self._uplink.append(waiting)])):
                self._keep(waiting)
            session.end.unread(session.backlog)
            session.backlog = []
            await session.end.hand_over(partial(self._take_from, session))
        except Gone as gone:
            if self._model is session:
                self._model = None
                self._forget_spoken()
                self._feed(ModelLost(gone.code, gone.reason))
        finally:
            if self._model is session:
                self._model = None
            await session.end.close()

    def _take_from(self, session: ModelSession, messages: list[bytes]) -> bool:
        """Take messages that arrived together. Returns False if this session is no longer the call's session."""
        for message in messages:
            if self._model is session:
                self._take_from_model(message)
        return self._model is session

    def _take_from_model(self, raw: bytes) -> None:
        try:
            message, event = model_dialect.parse(raw)
            if message.type == model_dialect.AUDIO_DELTA:
                self._model_spoke(message)
            elif message.type == model_dialect.AUDIO_DONE:
                response_id, item = ResponseId(message.response_id or ""), ItemId(message.item_id or "")
                self._feed(self._answers.finished(response_id, item))
            elif self._spoken is not None and self._spoken.takes(message, event):
                pass
            elif event is not None:
                self._feed(event)
            elif not model_dialect.is_known(message):
                self._metrics.unknown_events.labels("openai").inc()
        except (model_dialect.ModelProtocolError, ValueError) as error:
            self._metrics.bad_messages.labels("openai").inc()
            log.warning("model.bad_message", words=str(error))

    def _model_spoke(self, message: model_dialect.Message) -> None:
        response_id, item = ResponseId(message.response_id or ""), ItemId(message.item_id or "")
        for event in self._answers.spoke(response_id, item, message.delta or ""):
            self._feed(event)

    def _forget_spoken(self) -> None:
        """The session has ended. Text that was not spoken yet is dropped."""
        if self._spoken is not None:
            self._feed_all(self._spoken.forget())

    def _feed_all(self, events: list[Event]) -> None:
        for event in events:
            self._feed(event)

    # Watchdog

    async def _watch(self) -> None:
        """Check everything that depends on the time. May be cancelled anywhere. Ends with the stream."""
        ticker = self._desk.ticker
        lot = ticker.join()
        while True:
            if self._is_beginning():
                await trio.sleep(FIRST_TICKS_S)
                self._tick()
            else:
                await ticker.serve(lot, self._tick)

    def _is_beginning(self) -> bool:
        """True while the watchdog must tick more often: nothing was played yet, or no model serves the call."""
        return self.machine.figures.greeting_ms is None or not self.machine.model_is_ready

    def _tick(self) -> bool:
        """Check everything that depends on the time. False if the next tick must come sooner than usual."""
        now = trio.current_time()
        self._file.talk.spent_usd = self.machine.meter.usd
        if self._recorder is not None:
            self._recorder.tick(now)
        pad_ms = self._uplink.gaps.while_idle(now, self.machine.floor.caller_speaks)
        if pad_ms:
            actions = self.machine.caller_audio(SILENCE_DBFS, pad_ms, now)
            self._perform([SendSilence(pad_ms), *actions])
        if self.machine.ending is None:
            self._look_for_twilio(now)
        if self.machine.call.lateness.ahead_s > AHEAD_LIMIT_S and self.machine.ending is None:
            log.error("call.audio_too_fast", words="caller audio comes faster than time passes: the call is ended")
            self._feed(CallerLeft(EndReason.TWILIO_PROTOCOL))
        if self._desk.leaves_at is not None and self.machine.call.drain_until is None:
            self._feed(DrainBegan(self._desk.leaves_at - now))
        if self._spoken is not None:
            self._spoken.tick(now)
        if self._desk.bill.is_short and not self.machine.call.early.governor.why_off:
            self._feed(DayMoneyShort())
        self._feed(Ticked())
        return not self._is_beginning()

    def _look_for_twilio(self, now: float) -> None:
        match self._probe.due(now):
            case "ask":
                self._post_to_caller([self._dialect.mark(self.stream_sid, PROBE_MARK)])
            case "dead":
                self._feed(CallerLeft(EndReason.NO_CALLER_AUDIO))

    # Functions

    async def _run_function(self, action: RunFunction) -> None:
        returned = await self._functions.run(action)
        self._pause_recording(returned.effect)
        self._feed(returned)

    # The recording

    def _pause_recording(self, effect: object) -> None:
        if self._recorder is not None:
            match effect:
                case PauseRecording(why):
                    self._recorder.pause(why, trio.current_time())
                case ResumeRecording():
                    self._recorder.resume(trio.current_time())

    def _stop_recording(self, *, by_caller: bool) -> None:
        if self._recorder is not None:
            self._recorder.close(trio.current_time(), by_caller=by_caller)

    # Actions

    def _feed(self, event: Event) -> None:
        actions = self.machine.handle(event, trio.current_time())
        is_gone = self.machine.call.phase is Phase.GONE
        if is_gone:
            self.rows.decide()  # Twilio's webhook may ask for the decision at any moment now.
        if actions:
            self._perform(actions)
        if is_gone:
            self._stop_if_over()

    def _stop_if_over(self) -> None:
        if self.machine.is_over and not self._is_leaving:
            self._scope.cancel()

    # Long because it lists all actions, with a few lines for each.
    def _perform(self, actions: list[Action], append: bytes = b"") -> bool:
        """Carry out the machine's actions: messages to the caller, then to the model, then rows, then slow work.

        The caller comes first because a `clear` is urgent. Each socket's messages stay in order. `append` is a message
        with caller audio. It goes to the model after the other messages, in the same write. Returns True if `append`
        was sent. It is not sent if slow work was started too, because that may close the model session.
        """
        to_caller: list[bytes] = []
        to_model: list[model_dialect.ToModel | bytes] = []
        rows: list[Action] = []
        orders: list[Action] = []
        later: list[Event] = []
        sid = self.stream_sid
        for action in actions:
            match action:
                case Play(mulaw, mark):
                    if self._recorder is not None:
                        self._recorder.played(mulaw, mark, trio.current_time())
                    to_caller += self._dialect.play(sid, mulaw, mark)
                case ClearPlayback():
                    if self._recorder is not None:
                        self._recorder.cleared(trio.current_time())
                    to_caller.append(self._dialect.clear(sid))
                case AnswerOwner(answer):
                    self._orders.answer(answer)
                case SendSilence(ms):
                    to_model.append(self._uplink.append(silence(ms)))
                case RecordTurn() | RecordConsent() | StopKeepingWords() | Report() | KeepAudio() | LearnGreeting():
                    rows.append(action)
                case CancelResponse():
                    if not self._has_ended(action, later):
                        to_model.append(action)
                case UseOwnVoice():
                    to_model.append(self._lose_voice())
                case AskForResponse() | TruncateItem() | DeleteItem() | CreateItem():
                    to_model.append(action)
                case CreateFunctionPair() | SendFunctionOutput():
                    to_model.append(action)
                case _:
                    orders.append(action)
        is_sent = False
        try:
            self._post_to_caller(to_caller)
            if append and not orders:
                to_model.append(append)
            if to_model:
                is_sent = self._post_to_model(model_dialect.rendered(to_model)) and bool(append) and not orders
        finally:
            for row in rows:
                later += self._write_down(row)
        if to_caller and self.rows.greeting_ms is None and any(isinstance(action, Play) for action in actions):
            self.rows.greeted(trio.current_time())
        for order in orders:
            self._obey(order)
        if later:
            self._start(self._feed_later, later)
        return is_sent

    async def _feed_later(self, events: list[Event]) -> None:
        """Give the machine events that were caused by actions. This task runs after the present events were handled."""
        self._feed_all(events)

    def _has_ended(self, action: CancelResponse, later: list[Event]) -> bool:
        """Stop the voice's speech of this response. True if the model has ended the response already.

        Then the model needs no cancellation. The events of this response that the machine did not get yet are added to
        `later`.
        """
        if self._spoken is None:
            return False
        cut = self._spoken.cut(action.response_id)
        later += cut.waited
        return cut.has_ended

    def _lose_voice(self) -> bytes:
        """Let the model speak from now on, in this stream and in the call's later streams.

        Returns the message that tells the model so.
        """
        self._spoken, fault = None, self.machine.call.voice_fault
        self._file.talk.voice_fault = fault
        self._metrics.voices_lost.labels(fault).inc()
        return model_dialect.SPEAK

    def _post_to_caller(self, messages: list[bytes]) -> None:
        """Send to the caller without waiting.

        If the socket is closed, the Twilio reader gets its close code and ends the call.
        """
        try:
            if messages and self._caller.post(*messages):
                self._start(self._drain_caller)
        except Gone:
            pass  # The Twilio reader ends the call.

    async def _drain_caller(self) -> None:
        """Wait until the caller's socket has taken everything.

        This is a task of its own, so that no other task has to wait. The socket is closed after 5 s without progress.
        """
        try:
            await self._caller.drain()
        except Gone:
            pass  # The Twilio reader ends the call.

    def _write_down(self, action: Action) -> list[Event]:
        """Carry out an action about rows, the log, the recording or a stored greeting.

        Returns an event for the machine if the agent must correct what it said.
        """
        match action:
            case RecordTurn():
                doubt = self.rows.turn(action)
                return [doubt] if doubt is not None and self.machine.call.ending is None else []
            case RecordConsent(heard_ms):
                self.rows.consent(heard_ms)
                if self._recorder is not None and self._file.consent.may_keep:
                    self._recorder.begin(trio.current_time())
            case StopKeepingWords(at_ms):
                self.rows.refuse(at_ms)
                if self._recorder is not None:
                    self._recorder.refuse(trio.current_time())
            case Report(name, level, fields):
                getattr(log, level)(name, **dict(fields))
            case KeepAudio(response_id):
                self._answers.keep(response_id)
            case LearnGreeting(response_id):
                greeting = self._answers.kept(response_id)
                # If the voice service was lost, the greeting may be in the model's voice, or in two voices. Then it is
                # not stored.
                if greeting and not self._file.talk.voice_fault:
                    self.rows.learn_greeting(greeting)
        return []

    def _obey(self, action: Action) -> None:
        """Carry out an action that takes time, or that ends something."""
        match action:
            case RunFunction():
                self._start(self._run_function, action)
            case DialModel(model):
                self._connector.dial(model)
            case DialBeside(model):
                self._start(self._connector.keep_one_ready, model, self._feed)
            case SwitchModel():
                self._drop_model()
                self._forget_spoken()
                self._connector.switch()
            case ForgetNext():
                self._say_goodbye(self._connector.forget())
            case ReleaseModel():
                self._connector.release()
                self._drop_model()
            case HangUp():
                self._start(self._hang_up)
            case LeaveStream():
                self._stop_recording(by_caller=False)
                self._is_leaving = True
                self._start(self._leave_stream)

    def _drop_model(self) -> None:
        """Close the present model session. Audio that it still sends is dropped.

        The caller's audio waits for the next session.
        """
        model, self._model = self._model, None
        self._say_goodbye(model)

    def _say_goodbye(self, session: ModelSession | None) -> None:
        if session is not None:
            self._start(session.end.close)  # This may take 2 s, if OpenAI does not answer the close.

    async def _leave_stream(self) -> None:
        await close_behind_last_words(self._caller)
        self._is_leaving = False
        self._stop_if_over()

    async def _hang_up(self) -> None:
        with trio.CancelScope(shield=True):
            if self._desk.hang_up_by_rest and self._dialect.IS_A_PHONE_CALL:
                await hang_up(self._desk.rest, self._file.call_sid)
            self._stop_recording(by_caller=False)
            await self._leave_stream()
