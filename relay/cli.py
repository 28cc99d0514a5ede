"""The commands of `relay`. Each command reads its arguments and calls the code that does the work.

A command that fails prints why.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

from relay import settings
from relay.ledger.dev_postgres.embedded import EmbeddedPostgresFailed, database
from relay.ledger.migrate import MigrationRefused, migrate
from relay.ledger.port import LedgerUnavailable
from relay.settings import Settings, SettingsInvalid, env_file
from relay.settings.version import VERSION
from relay.telemetry import logs
from relay.telemetry.errors import first_error

if TYPE_CHECKING:
    from relay.business.rules import Business
    from relay.ledger.store import PostgresLedger
    from relay.standin.commands.call import Target

USAGE, INTERRUPTED = 2, 130
OWNER_USAGE = (
    "today (or nothing), tomorrow, week or a date: what is booked; add SERVICE TIME, move ID TIME, cancel ID, "
    "block FROM TO, unblock ID; a time is like '2026-11-24 19:00', FROM and TO may be days"
)
# How many tables the stand-in business has. All rehearsed calls book for the same evening, and `relay call --n 20`
# makes 20 calls at once. With fewer tables the later calls could not book.
TABLES = 100


class CommandFailed(Exception):
    """A command has failed. The message is one sentence for the terminal. `code` is the exit code."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: success. 1: failure. 2: wrong use or wrong settings. 3: the relay cannot be reached. 130: interrupted, or nobody
    reads the output.
    """
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int | None] = arguments.command
    # Without line buffering, a pipe or a file would get the lines of a running call only at the end.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        return command(arguments) or 0
    except SettingsInvalid as error:
        print(error, file=sys.stderr)
        return USAGE
    except CommandFailed as error:
        print(f"relay {arguments.name}: {error}", file=sys.stderr)
        return error.code
    except (EmbeddedPostgresFailed, MigrationRefused, LedgerUnavailable) as error:
        print(f"relay {arguments.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return INTERRUPTED
    except BaseExceptionGroup as group:  # A nursery wraps KeyboardInterrupt in a group.
        if group.split(KeyboardInterrupt)[1] is not None and not _nobody_reads():
            raise
        return INTERRUPTED


def _nobody_reads() -> bool:
    """True if the program that reads our output has ended (`head` does this).

    After that, all further output is thrown away.
    """
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _parser() -> _Parser:
    parser = _Parser(prog="relay", description="A voice agent behind a phone number.")
    parser.add_argument("--version", action="version", version=f"relay {VERSION}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int | None], text: str) -> _Parser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=command)
        return one

    add("serve", _serve, "take calls, until a signal")
    demo = add(
        "demo", _demo, "make a simulated call to a real relay; writes a WAV, and rows into a database of its own"
    )
    demo.add_argument("--scenario", default="good_call", help="a shipped scenario by name, or a .toml file")
    demo.add_argument("--live", action="store_true", help="talk to OpenAI itself (needs OPENAI_API_KEY)")
    demo.add_argument(
        "--voice",
        choices=("openai", "elevenlabs"),
        default="openai",
        help="elevenlabs: the model writes, and a stand-in of ElevenLabs speaks",
    )
    demo.add_argument("--out", type=Path, default=Path("out/demo.wav"), help="the file for the stereo WAV")
    demo.add_argument("--console", action="store_true", help="keep everything running afterwards, and show its console")
    call = add("call", _call, "make a simulated call to any relay, local or deployed")
    call.add_argument("url", help="the relay's public URL, like https://relay.example.com")
    played = call.add_mutually_exclusive_group()
    played.add_argument("--wav", type=Path, help="what the caller says: a WAV file")
    played.add_argument(
        "--scenario", help="a shipped scenario by name, or a .toml file (see relay/standin/scenario/scenario_file.py)"
    )
    call.add_argument("--out", type=Path, help="the file for the stereo WAV")
    call.add_argument("--n", type=_calls_at_once, default=1, help="make this many calls at the same time")
    call.add_argument("--rest-port", type=_port, help="serve Twilio's REST API here, for TWILIO_API_BASE")
    call.add_argument("--json", action="store_true", help="the report as JSON")
    add("migrate", _migrate, "bring the database's tables up to date")
    greet = add("greet", _greet, "render the greeting and the phrases in the agent's voice")
    greet.add_argument("--again", action="store_true", help="also render the phrases that are kept already")
    add("fallback-twiml", _fallback_twiml, "print the document for the number's fallback URL, to be hosted elsewhere")
    outbox = add("outbox", _outbox, "list the news for the owner that was not sent: what waits, and dead letters")
    outbox.add_argument("--again", action="store_true", help="send dead letters again")
    notify = add("notify", _notify, "mails and webhooks to the owner")
    notify.add_argument("--test", action="store_true", required=True, help="send one of each to the real targets")
    calls = add("calls", _calls, "list calls, show one, or export one with its recording")
    calls.usage = "relay calls [list | [show] CALL | export CALL [--out FOLDER]]"
    calls.add_argument("words", nargs="*", metavar="CALL", help="show this call's rows; export CALL: write them")
    calls.add_argument("--out", type=Path, help="export: the folder (default: a folder named after the call)")
    listen = add("listen", _listen, "play a call's recording, or write it as a WAV")
    listen.add_argument("call_sid", metavar="CALL", help="the call's sid")
    listen.add_argument("--out", type=Path, help="write this WAV instead of playing")
    erase = add("erase", _erase, "delete what there is of a caller, or of one call: sound, words and number")
    whom = erase.add_mutually_exclusive_group(required=True)
    whom.add_argument("number", nargs="?", metavar="NUMBER", help="the caller's number, like +12125550101")
    whom.add_argument("--call", metavar="CALL", help="only this call, by its sid: for a caller who hides the number")
    erase.add_argument("--yes", action="store_true", help="do not ask")
    key = add("key", _key, "make a key for recordings, or the hash of the console's password")
    key.add_argument("--console", action="store_true", help="ask for a password and print CONSOLE_PASSWORD_HASH")
    add("check", _check, "read all settings and files, and name every mistake")
    diary = add("diary", _diary, "read or change the diary of the embedded backend")
    diary.add_argument("do", nargs="?", default="today", help=OWNER_USAGE)
    diary.add_argument("rest", nargs="*", help="what and when")
    diary.add_argument("--name", dest="caller", default="", help="add: the name of the guest")
    diary.add_argument("--phone", default="", help="add: the guest's number")
    diary.add_argument(
        "--with", dest="who", default="", help="add, block: only this person (block: or only this kind of place)"
    )
    diary.add_argument("--notes", default="", help="add: a note about the guest")
    diary.add_argument("--why", default="", help="block: why nothing can be booked")
    diary.add_argument("--anyway", action="store_true", help="add, move: hours, notice and horizon do not count")
    diary.add_argument("--json", dest="as_json", action="store_true", help="as JSON")
    add("bench", _bench, "measure how many calls this machine carries; prints MAX_CALLS and the limits for fly.toml")
    standin = add("standin", _standin, "run one of the stand-ins, for rehearsals")
    standin.add_argument(
        "what",
        choices=("model", "elevenlabs", "business", "caller"),
        help="model: OpenAI Realtime; elevenlabs: its speech socket, for VOICE=elevenlabs; business: a backend (faults"
        " by POST /standin/faults, what was booked by GET /standin/bookings); caller: Twilio, which rings --relay when"
        " told to (POST /standin/ring?scenario=NAME)",
    )
    standin.add_argument("--port", type=_port, default=0)
    standin.add_argument("--script", help="model, elevenlabs: a TOML file with a [model] or [voice] table")
    standin.add_argument("--faults", default="", help="model, elevenlabs: faults on order, like 'stall_after_deltas=2'")
    standin.add_argument("--relay", default="http://127.0.0.1:8080", help="caller: the relay's public URL")
    standin.formatter_class = argparse.RawDescriptionHelpFormatter
    standin.epilog_of = _faults_of_the_standins
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser that makes its epilog only for --help.

    The epilog needs the stand-ins, and importing them would make every command start later.
    """

    epilog_of: Callable[[], str] | None = None

    def format_help(self) -> str:
        if self.epilog_of is not None:
            self.epilog = self.epilog_of()
        return super().format_help()


def _faults_of_the_standins() -> str:
    from relay.standin.elevenlabs.voice_script import VoiceFaults
    from relay.standin.model.script import Faults
    from relay.standin.model.server import FAULTS_HEADER

    return (
        "the model's faults: with --faults, in a script's [model.faults], or for one connection in the header\n"
        f"{FAULTS_HEADER}, each as NAME or NAME=VALUE, with commas between them\n"
        + _as_table(Faults.described())
        + "\n\nthe faults of elevenlabs: with --faults, or in a script's [voice.faults]\n"
        + _as_table(VoiceFaults.described())
    )


def _as_table(known: list[tuple[str, str]]) -> str:
    width = max(len(order) for order, _ in known)
    return "".join(f"\n  {order:{width}}  {says}" for order, says in known)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port is a number up to 65535, not {text!r}")
    return int(text)


def _calls_at_once(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"at least one call is needed, not {text!r}")
    return int(text)


def _settings(*, serving: bool, keeps_rows: bool = False) -> Settings:
    return _settings_and_names(serving=serving, keeps_rows=keeps_rows)[0]


def _settings_and_names(*, serving: bool, keeps_rows: bool = False) -> tuple[Settings, frozenset[str]]:
    """The settings of this command, from the environment and `.env`, and the names of the settings that are set there.

    Logs a hint about each setting that is probably a mistake, such as a name with a typing error.
    """
    environment = env_file.read(os.environ)
    try:
        loaded = settings.load(environment.values, serving=serving, keeps_rows=keeps_rows)
    except SettingsInvalid as error:
        raise SettingsInvalid("\n".join((str(error), *(f"  - {hint}" for hint in environment.hints)))) from None
    logs.configure(loaded.log_format)
    log = structlog.get_logger()
    for hint in environment.hints:
        log.warning("settings.hint", words=hint)
    if serving:
        for words in settings.doubts(loaded, environment.values):
            log.warning("settings.doubt", words=words)
    return loaded, frozenset(name for name, value in environment.values.items() if value.strip())


def _serve(_: argparse.Namespace) -> None:
    from dsp import SelfTestFailed
    from relay.functions import FunctionRefused
    from relay.phrases.prompts import PromptsInvalid
    from relay.recordings.stores import StoreUnusable
    from relay.server import app, data_dir
    from relay.server.http import PortUnusable

    loaded = _settings(serving=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(data_dir.held(loaded.data_dir))
        except data_dir.DataDirInUse as error:
            raise CommandFailed(str(error)) from None
        url = stack.enter_context(database(loaded.database_url, loaded.data_dir))
        if loaded.database_url == "embedded":
            migrate(url)
        ledger = _ledger(url, loaded)
        try:
            trio.run(app.run, loaded, ledger, url)
        except Exception as error:  # It may be an exception group from a nursery.
            first = first_error(error)
            if isinstance(first, PromptsInvalid | FunctionRefused | SelfTestFailed | StoreUnusable):
                raise CommandFailed(str(first)) from None
            if isinstance(first, PortUnusable):
                raise CommandFailed(first.strerror or str(first)) from None
            structlog.get_logger().error(
                "relay.crashed", exc_info=error, caller_hears="what the number's fallback says"
            )
            raise CommandFailed("the relay ended because of a bug: see the line relay.crashed in its log") from None


def _ledger(url: str, loaded: Settings) -> PostgresLedger:
    from relay.ledger.store import PostgresLedger

    folder = loaded.data_dir / "ledger-spill"
    try:
        return PostgresLedger(url, spill_dir=folder, keep_words=loaded.keeps_words)
    except OSError as error:
        words = f"{error.filename or folder} cannot be read: {error.strerror}"
        raise CommandFailed(
            f"{words}. Rows of earlier calls may wait there: let this user read and write it."
        ) from None


def _demo(arguments: argparse.Namespace) -> int:
    from relay.standin.commands import demo

    loaded = demo.settings_of(arguments.out, live=arguments.live)
    if arguments.live and not loaded.openai_api_key:
        raise CommandFailed("--live needs OPENAI_API_KEY in the environment: a demo reads no .env", USAGE)
    a = arguments
    if a.live and a.voice != "openai":
        raise CommandFailed("--voice is a stand-in, and --live talks to OpenAI itself: take one of them", USAGE)
    try:
        return demo.run(loaded, a.scenario, a.out, live=a.live, console=a.console, voice=a.voice)
    except demo.DemoFailed as error:
        raise CommandFailed(str(error)) from None


def _target(url: str) -> Target:
    from relay.standin.commands.call import OUR_NUMBER, Target
    from relay.standin.commands.rehearsed import Rehearsed
    from relay.standin.twilio.exchange import Account

    loaded, given = _settings_and_names(serving=False)
    account = Account(loaded.twilio_account_sid or "AC" + "0" * 32, next(iter(loaded.twilio_auth_tokens), ""))
    return Target(url, account, loaded.twilio_phone_number or OUR_NUMBER, Rehearsed(loaded, given))


def _call(arguments: argparse.Namespace) -> int:
    from relay.standin.commands.call import main_call

    return trio.run(
        partial(
            main_call,
            _target(arguments.url),
            scenario=arguments.scenario,
            wav=arguments.wav,
            out=arguments.out,
            count=arguments.n,
            rest_port=arguments.rest_port,
            as_json=arguments.json,
        )
    )


def _migrate(_: argparse.Namespace) -> None:
    loaded = _settings(serving=False, keeps_rows=True)
    with database(loaded.database_url, loaded.data_dir) as url:
        applied = migrate(url)
    print("applied: " + ", ".join(applied) if applied else "the database is up to date")


def _greet(arguments: argparse.Namespace) -> int:
    from relay import functions
    from relay.business import owner_files
    from relay.phrases.phrase_book import PhraseBook, by_model, by_voice
    from relay.realtime.client import ModelAccess, Realtime
    from relay.server.app import voices_of

    loaded = _settings(serving=False, keeps_rows=True)
    access = ModelAccess(
        loaded.openai_realtime_url, loaded.openai_api_key, loaded.openai_voice, loaded.openai_transcribe_model
    )
    with database(loaded.database_url, loaded.data_dir) as url:
        migrate(url)
        ledger = _ledger(url, loaded)
        try:
            texts = owner_files.read(loaded).prompts
            also = [text for text in functions.load(loaded.functions or None).holding().values() if text]
        except (owner_files.FilesInvalid, functions.FunctionRefused) as error:
            raise CommandFailed(str(error)) from None
        folder = loaded.data_dir / "greetings"
        voices = voices_of(loaded)
        speak = by_model(Realtime(access), loaded.openai_model) if voices is None else by_voice(voices)
        by = access.service if voices is None else voices.service
        book = PhraseBook(texts, loaded.phrase_voice, loaded.phrase_model, folder, ledger, also, rendered_by=by)
        missing = trio.run(partial(book.fill, speak, again=arguments.again))
    # If the model refused all phrases for one reason, this reason is in the log already.
    for line in not_rendered(missing) if book.refused is None else []:
        print(line, file=sys.stderr)
    print(f"{len(book.texts()) - len(missing)} of {len(book.texts())} phrases are kept in {folder}")
    return 1 if missing else 0


def not_rendered(missing: Mapping[str, str]) -> list[str]:
    """The lines about phrases that are missing. `missing`: phrase -> reason.

    A reason has one line. If there are several reasons, its phrases follow.
    """
    lines: list[str] = []
    for reason in dict.fromkeys(missing.values()):
        texts = [text for text, why in missing.items() if why == reason]
        phrases = "1 phrase" if len(texts) == 1 else f"{len(texts)} phrases"
        hears = "callers hear the live greeting, or the clips that ship with the relay"
        lines.append(
            f"not rendered: {phrases}: {reason}. Run `relay greet` again when this is mended. Until then {hears}"
        )
        if len(texts) < len(missing):
            lines += [f"  {text}" for text in texts]
    return lines


def _check(_: argparse.Namespace) -> int:
    from relay.server.check import mistakes

    wrong, told = mistakes(partial(_settings, serving=True), env_file.read(os.environ).values)
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return USAGE
    print("\n".join([*told, "everything is right (Postgres, OpenAI and Twilio were not asked)"]))
    return 0


def _diary(arguments: argparse.Namespace) -> None:
    from relay.business import owner
    from relay.business.diary import DiaryUnavailable
    from relay.business.file import BusinessFileInvalid, load
    from relay.business.identity import settle

    loaded = _settings(serving=False, keeps_rows=True)
    if not loaded.business_is_embedded:
        raise CommandFailed("this relay keeps no diary: BUSINESS_API_BASE is set, so your server keeps it", USAGE)
    a = arguments
    asked = owner.Asked(a.do, a.rest, a.caller, a.phone, a.who, a.notes, a.why, a.anyway, a.as_json)
    try:
        _, business, _ = settle(loaded, load(loaded.business_file))
        with database(loaded.database_url, loaded.data_dir) as url:
            if loaded.database_url == "embedded":
                migrate(url)
            print(trio.run(owner.at_postgres, asked, business, url))
    except (owner.OwnerRefused, BusinessFileInvalid, DiaryUnavailable) as error:
        raise CommandFailed(str(error)) from None


def _fallback_twiml(_: argparse.Namespace) -> None:
    from relay.server.webhooks import BUSY
    from relay.twilio import twiml

    loaded = _settings(serving=False)
    if not loaded.human_transfer_number:
        raise CommandFailed("HUMAN_TRANSFER_NUMBER is not set: the document dials this number", USAGE)
    print(twiml.fallback(loaded.human_transfer_number, BUSY, loaded.twilio_phone_number))


def _kept_rows(loaded: Settings) -> AbstractContextManager[str]:
    """The database of a command that needs rows of earlier calls.

    If the database is embedded and DATA_DIR does not exist, raises CommandFailed: a new database would be empty.
    """
    if loaded.database_url == "embedded" and not loaded.data_dir.exists():
        raise CommandFailed(
            f"there are no rows here, because there is no folder {loaded.data_dir}: run this command in the folder "
            "of your .env"
        )
    return database(loaded.database_url, loaded.data_dir)


def _outbox(arguments: argparse.Namespace) -> None:
    from relay.notify.commands import send_dead_letters, show_outbox

    loaded = _of_the_business(_settings(serving=False, keeps_rows=True))
    with _kept_rows(loaded) as url:
        if arguments.again:
            trio.run(send_dead_letters, loaded, url, print)
        for line in show_outbox(url):
            print(line)


def _notify(_: argparse.Namespace) -> int:
    from relay.notify.commands import send_tests

    loaded = _of_the_business(_settings(serving=False))
    return 0 if trio.run(send_tests, loaded, print) else 1


def _calls(arguments: argparse.Namespace) -> None:
    from relay.ledger import history

    match arguments.words:
        case [] | ["list"]:
            call_sid = ""
        case ["export", call_sid]:
            _export(call_sid, arguments.out)
            return
        case ["show", call_sid] | [call_sid] if call_sid not in ("show", "export"):
            pass
        case _:
            raise CommandFailed("write `relay calls`, `relay calls CALL` or `relay calls export CALL`", USAGE)
    loaded = _settings(serving=False, keeps_rows=True)
    with _kept_rows(loaded) as url:
        if call_sid:
            tables = history.rows_of_call(url, call_sid)
            if not any(tables.values()):
                raise CommandFailed(f"there is no call {call_sid} in Postgres")
        else:
            tables = {"calls": history.list_calls(url)}
    for name, found in tables.items():
        print(f"{name} ({len(found)})")
        for row in found:
            print("  " + "  ".join(f"{key}={_shown(value)}" for key, value in row.items() if value is not None))


def _shown(value: object) -> object:
    return f"({len(value)} bytes)" if isinstance(value, bytes) else value


def _export(call_sid: str, out: Path | None) -> None:
    from relay.recordings.commands import export_call
    from relay.recordings.listening import NoRecording, NotHeard
    from relay.recordings.stores import StoreUnusable

    loaded = _settings(serving=False, keeps_rows=True)
    try:
        with _kept_rows(loaded) as url:
            written, missing = export_call(loaded, url, call_sid, out)
    except (NotHeard, StoreUnusable, OSError) as error:
        raise CommandFailed(str(error)) from None
    for path in written:
        print(path)
    if isinstance(missing, NoRecording):
        print(missing)
    elif missing is not None:
        raise CommandFailed(f"recording.wav of {call_sid} was not written: {missing}")


def _listen(arguments: argparse.Namespace) -> None:
    from relay.recordings.commands import listen
    from relay.recordings.listening import NotHeard
    from relay.recordings.stores import StoreUnusable

    loaded = _settings(serving=False, keeps_rows=True)
    try:
        with _kept_rows(loaded) as url:
            print(listen(loaded, url, arguments.call_sid, arguments.out))
    except (NotHeard, StoreUnusable, OSError) as error:
        raise CommandFailed(str(error)) from None


def _erase(arguments: argparse.Namespace) -> None:
    from relay.recordings.service import folder_of, store_of
    from relay.recordings.stores import FolderStore, StoreUnusable
    from relay.retention.commands import NotErased, Terminal, erase
    from relay.retention.erasure import Places, Whom
    from relay.twilio.caller_id import as_presented

    loaded = _of_the_business(_settings(serving=False, keeps_rows=True))

    def read(text: str) -> str:
        return text.strip() if arguments.call else as_presented(text, loaded.business_country)

    asked = read(arguments.call or arguments.number)
    if arguments.call and not re.fullmatch(r"[A-Za-z0-9]{10,64}", asked):
        raise CommandFailed(f"{asked!r} is not the SID of a call: `relay calls` shows the SIDs, like CA0123...", USAGE)
    if not asked:
        raise CommandFailed(f"{arguments.number!r} is no phone number: write it like +12125550101", USAGE)
    if asked == loaded.twilio_phone_number:
        raise CommandFailed(f"{asked} is TWILIO_PHONE_NUMBER, and no caller's number", USAGE)
    ask = input if sys.stdin.isatty() else None
    try:
        store = store_of(loaded)
        with _kept_rows(loaded) as url:
            spill, machine = loaded.data_dir / "ledger-spill", loaded.machine
            places = Places(url, FolderStore(folder_of(loaded)), store, spill, machine, loaded.retention_days)
            whom = Whom(call_sid=asked) if arguments.call else Whom(number=asked)
            erase(places, whom, read, Terminal(print, ask, loaded.tz), yes=arguments.yes)
    except StoreUnusable as error:
        raise CommandFailed(str(error)) from None
    except NotErased as error:
        raise CommandFailed(str(error), error.code) from None


def _of_the_business(loaded: Settings) -> Settings:
    """The settings. If there is a business file without mistakes, they have its name, time zone and country."""
    from relay.business.file import BusinessFileInvalid, load
    from relay.business.identity import settle

    if not loaded.reads_business_file:
        return loaded
    try:
        return settle(loaded, load(loaded.business_file))[0]
    except BusinessFileInvalid:
        return loaded


def _key(arguments: argparse.Namespace) -> None:
    from relay.recordings.cipher import new_key

    if arguments.console:
        print(f"CONSOLE_PASSWORD_HASH='{_hash_of_a_password()}'")
        return
    print(f"RECORDING_KEY={new_key()}")
    print("Keep this key in another place than the recordings. Without the key nobody can hear them.", file=sys.stderr)


def _hash_of_a_password() -> str:
    """Read a password, and return its hash.

    On a terminal the user types the password twice, and it is not shown. From a pipe, the first line is read.
    """
    import getpass

    from relay.console import password

    if sys.stdin.isatty():
        told = getpass.getpass("Password for the console: ")
        if getpass.getpass("Once more: ") != told:
            raise CommandFailed("the two passwords were not the same", USAGE)
    else:
        told = sys.stdin.readline().rstrip("\r\n")
    try:
        return password.hashed(told)
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from None


def _bench(_: argparse.Namespace) -> int:
    from relay.standin.commands.bench import main_bench

    return main_bench()


def _standin(arguments: argparse.Namespace) -> None:
    from relay.standin.commands.call import main_caller
    from relay.standin.elevenlabs.server import load_voice_script, main_elevenlabs
    from relay.standin.elevenlabs.voice_script import VoiceScriptError
    from relay.standin.model.script import ScriptError
    from relay.standin.model.server import load_script, main_model

    loaded = _settings(serving=False)
    if arguments.what == "model":
        try:
            script = load_script(arguments.script, arguments.faults, loaded.business_tz)
        except (ScriptError, OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CommandFailed(f"the script or the faults cannot be read: {error}", USAGE) from None
        serve = partial(main_model, arguments.port, script)
    elif arguments.what == "elevenlabs":
        try:
            voice_script = load_voice_script(arguments.script, arguments.faults)
        except (VoiceScriptError, OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CommandFailed(f"the script or the faults cannot be read: {error}", USAGE) from None
        serve = partial(main_elevenlabs, arguments.port, voice_script)
    elif arguments.what == "business":
        serve = partial(_serve_business, arguments.port, *_rehearsed(loaded))
    else:
        target = _target(arguments.relay)
        if words := target.unusable:
            raise CommandFailed(words, USAGE)
        serve = partial(main_caller, target, arguments.port)
    try:
        # Without this option, a Ctrl-C during a request would be raised inside the web framework, and the stand-in
        # would not end.
        trio.run(serve, restrict_keyboard_interrupt_to_checkpoints=True)
    except (OSError, BaseExceptionGroup) as error:
        if not isinstance(first := first_error(error), OSError):
            raise
        raise CommandFailed(f"the port {arguments.port} cannot be used: {first}. Give another with --port") from None


def _rehearsed(loaded: Settings) -> tuple[Settings, Business | None]:
    """The settings, and the owner's business if BUSINESS_FILE is set. With it a rehearsal has the owner's hours."""
    from relay.business.file import BusinessFileInvalid, load
    from relay.business.identity import settle

    if "business_file" not in loaded.given:
        return loaded, None
    try:
        settled, business, _ = settle(loaded, load(loaded.business_file))
    except BusinessFileInvalid as error:
        raise CommandFailed(str(error), USAGE) from None
    return settled, business


async def _serve_business(port: int, loaded: Settings, business: Business | None) -> None:
    from relay.standin.business.app import business_app, serve_business, stage_diary

    diary = stage_diary(loaded.tz, capacity=TABLES, business=business)
    app = business_app(diary, api_key=loaded.business_api_key or None)
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(serve_business, port, app)
        print(f"stand-in business: BUSINESS_API_BASE={urls[0]}", flush=True)
