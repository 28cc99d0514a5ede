"""Runs the process: opens everything that lives longer than a call, serves, and drains before a stop.

The process opens its parts in this order, and closes them in the reverse order: the ledger; the tasks beside the calls
(warm sessions, phrases, the day's bill and so on); HTTP and the sockets. After the first signal the relay drains: it
takes no new calls, `/readyz` answers 503, and running calls have DRAIN_S to end. `/routez` still answers 200, so that
the webhooks of running calls come. 20 s before that time is over, the agent leaves the calls that still run, and their
callers are connected with the human. A second signal ends the process at once.
"""

from __future__ import annotations

import datetime as dt
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import structlog
import trio
from hypercorn.typing import ASGIFramework
from prometheus_client import CONTENT_TYPE_LATEST
from quart import Response, request
from quart_trio import QuartTrio

import dsp
from relay import functions
from relay.business.diary import Diary
from relay.business.diary_postgres import PostgresDiary
from relay.console.console import Console
from relay.console.reads import Reads
from relay.ledger.port import Ledger, LedgerUnavailable
from relay.notify.service import Notices, channels_of
from relay.phrases.phrase_book import by_model, by_voice
from relay.realtime.client import Dial, ModelAccess, Realtime, WarmSessions
from relay.realtime.prices import unpriced
from relay.recordings.service import folder_of, open_recordings, store_of
from relay.recordings.stores import FolderStore, StoreUnusable
from relay.retention import Retention
from relay.retention.old_recordings import OldRecordings
from relay.retention.old_words import OldWords
from relay.server import console_door, descriptors, http, media_endpoint
from relay.server.briefings import Briefings
from relay.server.browser_calls import BrowserCalls
from relay.server.console_door import ConsoleDoor
from relay.server.console_sockets import handlers_of
from relay.server.media_endpoint import StreamDoor
from relay.server.owner import owner_of
from relay.server.webhooks import Webhooks
from relay.session.context import Desk
from relay.session.day_bill import EVERY_S
from relay.session.warm_voices import WarmVoices
from relay.settings import Settings
from relay.telemetry import logs
from relay.telemetry.metrics import Metrics
from relay.transport import overload
from relay.transport.handshake import dial
from relay.twilio.rest import TwilioRefused, TwilioRest, TwilioUnreachable
from relay.twilio.tokens import Tokens
from relay.voices.elevenlabs_socket import ElevenLabs, VoiceAccess

log = structlog.get_logger()

# Fly kills a machine at most 300 s after its signal (docs/protocol/fly.md 1). The last 20 s are for the ledger, which
# still writes its rows.
DRAIN_S = 280.0
# `/readyz` and `/routez` answer 503 until the phrases that every call needs are rendered, but at most for this time
# after the start. Then the relay takes calls without these phrases.
GREETING_WAIT_S = 10.0
LAG_EVERY_S = 0.5
# Some programs that start the relay turn one Ctrl-C into SIGINT and SIGTERM. Two signals within this time count as one.
SAME_WISH_S = 0.05
# Headers that show that a request came through a proxy. All headers that begin with X-Forwarded- count too.
_PROXIES_HEADERS = frozenset(
    "forwarded via x-real-ip x-client-ip x-cluster-client-ip x-original-forwarded-for x-original-host true-client-ip"
    " client-ip cf-connecting-ip cf-connecting-ipv6 cf-ray cdn-loop fastly-client-ip fly-client-ip fly-forwarded-port"
    " x-azure-clientip x-azure-socketip x-appengine-user-ip x-envoy-external-address x-amzn-trace-id x-amz-cf-id"
    " x-arr-log-id x-vercel-id x-nf-client-connection-ip".split()
)


# Long because this function opens everything that the calls share. Each part needs the parts before it.
def open_desk(
    settings: Settings,
    ledger: Ledger,
    *,
    backend: functions.BackendPort | None = None,
    diary: Diary | None = None,
    rest: TwilioRest,
    dial_end: Dial = dial,
) -> Desk:
    """Open everything that the calls of a process share.

    If `backend` is None, the embedded backend with `diary` is used.

    Raises FilesInvalid, FunctionRefused, StoreUnusable.
    """
    registry = functions.load(settings.functions or None)
    access = ModelAccess(
        settings.openai_realtime_url,
        settings.openai_api_key,
        settings.openai_voice,
        settings.openai_transcribe_model,
    )
    realtime = Realtime(access, dial_end)
    voices = voices_of(settings, dial_end)
    also = tuple(text for text in registry.holding().values() if text)
    metrics = Metrics()
    briefings = Briefings(
        settings,
        ledger,
        also,
        rendered_by=access.service if voices is None else voices.service,
        backend=backend,
        diary=diary,
        utc_now=lambda: desk.utc_now(),
        metrics=metrics,
    )
    desk = Desk(
        briefing=briefings.first(),
        ledger=ledger,
        registry=registry,
        realtime=realtime,
        warm=WarmSessions(realtime),
        rest=rest,
        tokens=Tokens(),
        metrics=metrics,
        utc_now=lambda: dt.datetime.now(dt.UTC),
        recordings=open_recordings(settings, ledger, metrics) if settings.records else None,
        voices=None if voices is None else WarmVoices(voices),
    )
    speak = by_model(realtime, settings.openai_model) if voices is None else by_voice(voices)
    desk.files_trouble = lambda: briefings.trouble
    desk.tasks["phrases"] = partial(briefings.keep_phrases, lambda: desk.briefing, speak)
    desk.tasks["files"] = partial(briefings.watch, lambda: desk.briefing, desk.take_over, speak)
    return desk


def retention_of(desk: Desk, database_url: str) -> Retention:
    """Make the task that deletes recordings and words by their age."""
    settings = desk.settings
    try:
        store = store_of(settings)
    except StoreUnusable as error:  # RECORD is not on, because open_desk() fails at such a store if RECORD=on.
        log.warning("recording.not_deleted", words=str(error), do="install obstore, or unset RECORDINGS_URL")
        store = None
    recordings = OldRecordings(
        FolderStore(folder_of(settings)),
        store,
        desk.ledger,
        desk.metrics,
        keep_days=settings.retention_days,
        utc_now=desk.utc_now,
        file_and_row=desk.recordings.file_and_row if desk.recordings is not None else trio.Lock(),
    )
    words = OldWords(database_url, settings.data_dir / "ledger-spill")
    keep_days = settings.retention_days_words
    return Retention(recordings, words, desk.metrics, keep_words_days=keep_days, utc_now=desk.utc_now)


def voices_of(settings: Settings, dial_end: Dial = dial) -> ElevenLabs | None:
    """The service whose voice speaks what the model writes. None if the model speaks itself."""
    if settings.speaks_itself:
        return None
    s = settings
    access = VoiceAccess(s.elevenlabs_url, s.elevenlabs_api_key, s.elevenlabs_voice_id, s.elevenlabs_model)
    return ElevenLabs(access, dial_end, s.elevenlabs_slots)


def _stop_signals() -> list[signal.Signals]:
    """The signals that ask the process to stop. SIGHUP comes when the terminal of the process is closed.

    A process that was started with `nohup` ignores SIGHUP. Then SIGHUP is not in the list, so it stays ignored.
    """
    asked = [signal.SIGTERM, signal.SIGINT]
    return asked if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*asked, signal.SIGHUP]


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").casefold()
    except ValueError:  # The URL has an IPv6 address without its closing bracket.
        return ""


def _is_a_proxys(header: str) -> bool:
    return header.casefold().startswith("x-forwarded-") or header.casefold() in _PROXIES_HEADERS


def rest_of(settings: Settings) -> TwilioRest:
    """Twilio's REST client. It signs in with the API key if that is set, otherwise with an auth token."""
    if settings.twilio_api_key:
        auths = [(settings.twilio_api_key, settings.twilio_api_secret)]
    else:
        auths = [(settings.twilio_account_sid, token) for token in settings.twilio_auth_tokens]
    return TwilioRest(settings.twilio_account_sid, auths, settings.twilio_api_base)


class Daemon:
    """A relay: its HTTP app, its doors (http.Door), and the tasks that run beside the calls.

    Plays (simulated calls in tests) use this class without opening a port.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        tokens = desk.settings.twilio_auth_tokens
        self.door = StreamDoor(desk, tokens)
        self.doors: dict[str, http.Door] = {media_endpoint.PREFIX: self.door.open}
        self.app = QuartTrio("relay")
        self._stop = trio.Event()
        self._began_at = trio.current_time()
        Webhooks(desk, tokens).add_to(self.app)
        self.app.add_url_rule("/healthz", "healthz", self._healthz, methods=["GET"])
        self.app.add_url_rule("/readyz", "readyz", self._readyz, methods=["GET"])
        self.app.add_url_rule("/routez", "routez", self._routez, methods=["GET"])
        self.app.add_url_rule("/metrics", "metrics", self._metrics, methods=["GET"])

    def add_console(self, console: Console, handlers: Mapping[str, console_door.SocketHandler]) -> None:
        """Serve the owner's pages under /console, and the sockets of `handlers` under /console/socket."""
        console.add_to(self.app)
        self.desk.metrics.watchers.set_function(lambda: console.live.watch.watchers)
        self.doors[console_door.PREFIX] = ConsoleDoor(console.guard, handlers, self.desk.metrics.refused_sockets).open

    # Pages

    async def _healthz(self) -> Response:
        return Response("ok\n", content_type="text/plain")

    async def _readyz(self) -> Response:
        words = await self.not_ready()
        return Response(f"{words or 'ready'}\n", 503 if words else 200, content_type="text/plain")

    async def _routez(self) -> Response:
        """For a proxy: may it send requests here? Yes also during the drain: Twilio asks about running calls."""
        words = self._is_starting()
        return Response(f"{words or 'ready'}\n", 503 if words else 200, content_type="text/plain")

    async def not_ready(self) -> str | None:
        """Why this relay takes no calls now, in words. None if it takes calls.

        The relay also takes calls while Postgres is away, because rows then wait on disk.
        """
        if self.desk.draining:
            return "draining: running calls come to their end, and no new ones are taken"
        return self._is_starting()

    def _is_starting(self) -> str | None:
        waited_s = trio.current_time() - self._began_at
        if not self.desk.phrases.complete.is_set() and waited_s < GREETING_WAIT_S:
            return "rendering the greeting"
        return None

    async def _metrics(self) -> Response:
        # The counts of calls and dollars are not public. Fly reads them directly, without a proxy. A request through a
        # proxy gets a 404. Such a request has a header that only proxies add, or it asks for the host of PUBLIC_URL.
        settings = self.desk.settings
        is_public = not settings.is_local and _host(f"//{request.host}") == _host(settings.public_url)
        if is_public or any(_is_a_proxys(name) for name, _ in request.headers):
            return Response("not found\n", 404, content_type="text/plain")
        return Response(self.desk.metrics.text(), content_type=CONTENT_TYPE_LATEST)

    # The process

    async def serve(self, *bind: str, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until a signal, then drain and return. `stop` skips the drain. Reports the bound URLs."""
        async with trio.open_nursery() as outer:
            await outer.start(self._apart, "ledger", self.desk.ledger.run)
            async with trio.open_nursery() as inner:
                await self.start_tasks(inner)
                inner.start_soon(self._watch_signals)
                async with trio.open_nursery() as sockets:
                    urls = await sockets.start(self._serve_sockets, *bind)
                    overload.keep_collector_off()
                    task_status.started(urls)
                    log.info("relay.serving", url=urls[0], **self.desk.settings.masked())
                for file in self.desk.files.values():
                    self.desk.tell_of_fault(file)  # Twilio's next webhook does not reach this process any more.
                inner.cancel_scope.cancel()
            outer.cancel_scope.cancel()

    async def start_tasks(self, nursery: trio.Nursery) -> None:
        """Start the tasks that run beside the calls."""
        await nursery.start(self.desk.warm.run)
        if self.desk.voices is not None:
            await nursery.start(self.desk.voices.run)
        for name, task in self.desk.tasks.items():
            nursery.start_soon(self._apart, name, task)
        nursery.start_soon(self._apart, "day's bill", self._keep_day_bill)
        nursery.start_soon(self._apart, "numbers of ours", self._learn_own_numbers)
        if self.desk.recordings is not None:
            await nursery.start(self._apart, "recordings", self.desk.recordings.run)
        nursery.start_soon(self._watch_lag)
        nursery.start_soon(self.desk.ticker.run)

    async def _apart(self, name: str, task: Callable[..., Awaitable[None]], **status: trio.TaskStatus[None]) -> None:
        """Run a task beside the calls. If it fails, the error is logged, and the calls go on."""
        try:
            await task(**status)
        except Exception:
            log.exception(
                "relay.task_broke",
                task=name,
                caller_hears="no change: calls go on; without the task ledger, rows go to disk",
                do="restart the relay when it has no calls",
            )

    async def _serve_sockets(self, *bind: str, task_status: trio.TaskStatus[list[str]]) -> None:
        await http.serve(
            cast("ASGIFramework", self.app),
            bind=list(bind),
            doors=self.doors,
            graceful_s=2.0,
            shutdown=self._stop,
            task_status=task_status,
        )

    async def _keep_day_bill(self) -> None:
        """Read what the other machines have spent today: at the start, while calls run, and when a phone rings."""
        while True:
            self.desk.bill.tell(file for file in self.desk.files.at_hand() if file.live)
            await self.desk.bill.read()
            self.desk.bill.weigh(self.desk.spent_today_usd, self.desk.settings.max_day_usd)
            await trio.sleep(EVERY_S)
            if not self.desk.calls_in_hand:
                self.desk.rang = trio.Event()
                await self.desk.rang.wait()

    async def _learn_own_numbers(self) -> None:
        """Learn the phone numbers that lead to this relay: those that were ever called (from the ledger), and those of
        the account (from Twilio)."""
        desk, settings = self.desk, self.desk.settings
        try:
            desk.learn_own(*await desk.ledger.numbers_called(limit_s=5.0))
        except LedgerUnavailable as error:
            log.info(
                "numbers.not_read", words=str(error), caller_hears="no change: each number is learned when it is called"
            )
        if settings.is_local and settings.twilio_api_base == Settings().twilio_api_base:
            return  # Twilio cannot reach this relay, so the account's numbers do not lead here.
        try:
            ours = await desk.rest.own_numbers()
        except TwilioUnreachable as error:
            log.warning("twilio.not_asked", words=str(error), caller_hears="no change")
            return
        except TwilioRefused as error:
            log.error(
                "twilio.not_asked", words=str(error), caller_hears="no change, but a call may not be hung up at once"
            )
            return
        desk.learn_own(*ours)
        if settings.twilio_phone_number not in ours:
            log.warning(
                "number.not_in_account",
                words="Twilio's API does not list TWILIO_PHONE_NUMBER among the account's numbers",
                do="check TWILIO_ACCOUNT_SID, and that TWILIO_API_BASE belongs to the number's region",
            )

    async def _watch_lag(self) -> None:
        while True:
            due = trio.current_time() + LAG_EVERY_S
            await trio.sleep_until(due)
            self.desk.metrics.loop_lag_ms.set((trio.current_time() - due) * 1000)

    async def _watch_signals(self) -> None:
        with trio.open_signal_receiver(*_stop_signals()) as signals:
            number, first_at = await anext(signals), trio.current_time()
            log.info("relay.draining", signal=signal.Signals(number).name, calls=self.desk.calls_in_hand)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._drain_then, nursery.cancel_scope.cancel)
                async for again in signals:
                    number = again
                    if trio.current_time() - first_at > SAME_WISH_S:
                        break
                log.warning("relay.leaving_now", signal=signal.Signals(number).name, calls=self.desk.calls_in_hand)
                nursery.cancel_scope.cancel()
            self._stop.set()

    async def _drain_then(self, leave: Callable[[], None]) -> None:
        await self.drain()
        leave()

    async def drain(self) -> None:
        """Take no more calls, and wait until all calls have ended, at most DRAIN_S.

        A call whose human is being rung, or talks with the caller, has not ended.
        """
        self.desk.begin_drain(DRAIN_S - 20.0)
        with trio.move_on_after(DRAIN_S):
            while self.desk.calls_in_hand:  # noqa: ASYNC110 -- many calls end one by one, and 0.1 s is soon enough
                await trio.sleep(0.1)

    def stop(self) -> None:
        """Stop without draining."""
        self._stop.set()


async def run(settings: Settings, ledger: Ledger, database_url: str) -> None:
    """Run `relay serve` until a signal.

    Raises FilesInvalid, FunctionRefused, SelfTestFailed, StoreUnusable, PortUnusable.
    """
    dsp.self_test()
    descriptors.raise_limit(settings.max_calls)
    for model in unpriced((settings.openai_model, settings.openai_model_hard), settings.openai_transcribe_model):
        log.warning("prices.unknown_model", model=model, charged_as="the dearest model known")
    async with AsyncExitStack() as stack:
        backend, diary = None, None
        if settings.business_is_embedded:
            diary = PostgresDiary(database_url)
            stack.push_async_callback(diary.close)
        else:
            http_backend = functions.Backend(settings.business_api_base, settings.business_api_key or None)
            backend = await stack.enter_async_context(http_backend)
        rest = await stack.enter_async_context(rest_of(settings))
        desk = open_desk(settings, ledger, backend=backend, diary=diary, rest=rest)
        settings = desk.settings  # They have the name and the time zone of the business file.
        desk.briefing.prompts.rules.words.compile_all()
        if diary is not None:
            desk.tasks["diary"] = diary.keep_idle_closed
        desk.tasks["retention"] = retention_of(desk, database_url).run
        daemon = Daemon(desk)
        reads = Reads(database_url)
        stack.push_async_callback(reads.close)
        desk.tasks["console"] = reads.keep_idle_closed
        send_news = None
        if channels_of(settings):
            notices = Notices(settings, ledger, database_url, desk.utc_now)
            stack.push_async_callback(notices.close)
            desk.news, desk.tasks["notices"] = notices.news, notices.run
            desk.metrics.watch_outbox(notices.states)
            send_news = notices.wake
            stack.enter_context(logs.listening(notices.alarms.saw))
        calls = BrowserCalls(desk)
        console = Console(owner_of(desk, diary, send_news, calls), reads)
        daemon.add_console(console, handlers_of(desk, console, reads, calls))
        await daemon.serve(*http.addresses(settings.host, settings.port, is_local=settings.is_local))
