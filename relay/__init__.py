"""The relay: a phone call on one side, a realtime model on the other. This file is the map. It has no code.

The rooms, in the order in which a caller's audio passes them:

    cli.py              the commands (settings/ telemetry/)
    server/             the process
      app.py              nurseries by lifetime, admission, drain
      http.py             HTTP and the media socket on one port
      webhooks.py         a phone rings: Twilio's questions           human_transfer.py   the human's side of a call
      admission.py        which rings get the agent                   descriptors.py      enough of them for calls
      media_endpoint.py   the media socket's door: signature, token, start message
      console_door.py     the console's sockets: session and origin (console_rooms.py: what each of them serves)
      live_calls.py       running calls, for the owner            listening_in.py     their sound, for a browser
      fly_replay.py       the machine that knows the call         browser_calls.py    test calls from the console's page
      briefings.py        made at start, and when a file changes  owner.py            what the console may show of us
      check.py            `relay check`
    transport/          bytes and messages on sockets
      hub.py              looks at all sockets in each pass of the loop, and hands over what has come
      wire.py             bytes on a socket, with TLS or not          websocket.py        messages (handshake.py opens)
      overload.py         whether the loop is behind                  ticker.py           one timer for all watchdogs
    twilio/             Twilio's JSON <-> frames, marks, digits (media_protocol.py), TwiML, signatures, tokens; rest.py,
      caller_id.py        who calls, and how far the number can be trusted
    browser/            the same for a test call from the console's page (browser_protocol.py)
    session/            the shell of a call
      call_session.py     one nursery, three tasks: Twilio reader, OpenAI reader, watchdog
      uplink.py           frames to appends, gaps filled              downlink.py         deltas to mu-law
      model_connector.py  where a call's model sessions come from     context.py          what calls share
      spoken_answers.py   the model's text, spoken by another voice   warm_voices.py      voices opened when it rings
      call_file.py        what a call keeps over its streams          call_rows.py        its rows, figures, last line
      function_runner.py  runs functions, writes their rows       reservations.py     idempotency keys without words
      caller_protocol.py  a phone's, or a browser's               caller_words.py     what a function may ask of them
      caller_probe.py     whether the caller's socket is alive    owner_orders.py     the owner's orders, carried out
      leaving.py          hang-up, close after the last words     briefing.py         what a call knows of the business
      call_files.py       the files of all calls                  day_bill.py         dollars of today, all machines
      bills.py            the cost of unheard sessions
    call/machine.py     an event and the time in, actions out (pure). Its state is state.py, its rooms are
      greeting.py         the first words, by a ladder                turns.py            the caller's turns
      responses.py        the model's answers                         interruption.py     stop, undo, give up
      function_calls.py   the functions that the model calls          running_functions.py  those that run
      liveness.py         dead air, and what is due against it        sessions.py         orders about model sessions
      unheard_speech.py   what a deaf session misses              voice_loss.py       the voice of a model that writes
      failover.py         from one model session to the next          ending.py           caps, silence, the end
      playout.py          what was sent, heard, cut off               turn_taking.py      who may speak
      early_answer.py     an answer before the turn has ended         answering_early.py  the end of that turn
      early_governor.py   whether that pays                           turn_end.py         the silence that ends a turn
      level_vad.py        the caller's voice as a level               echo.py             our voice that may come back
      response_queue.py   the one owner of response.create            conversation.py     what was said and heard
      gap_filling.py      caller audio that never came                cost.py, waterfall.py  costs and waiting times
      orders.py           the owner's orders                          view.py             what a watcher sees
      escalation.py       ways to a human without a model             wording.py          what the model is told
      consent.py          whether words may be kept                   refusal.py          the caller refuses that
      words.py            what a transcript means                     keypad.py           keys that are pressed
      caller_turns.py     the caller's turns apart from their words   presence.py, rest.py
      consent_law.py      who must hear the notice                    call_config.py      what a call is told beforehand
      vocabulary.py       events, ids, how a call can end             actions.py          what a call can do
    dsp/                mu-law 8 kHz <-> PCM16 24 kHz (pure)
    realtime/           OpenAI's JSON <-> events and actions (protocol.py), session_config.py, refusals.py,
                        prices.py, client.py
    voices/             another voice than the model's (voice.py): text in, mu-law with text positions out
    phrases/            our own words: prompts.py, phrase_book.py (rendered once in the agent's voice), clips/ that ship

Beside the audio:

    functions/          what the model may do: builtin/ backend/ claims/
    business/           the embedded backend: business.toml, the diary
    ledger/             Postgres, off the audio path; dev_postgres/ is the embedded one
    recordings/         the sound of calls, encrypted: recorder.py (what both sides heard), writer.py (its thread)
    console/            the owner's pages: console.py (the routes), guard.py (who may see them), reads.py (Postgres)
    notify/             the owner is told: outbox, mail, webhook, alarms
    settings/           the environment, checked; .env; what ships beside the code. telemetry/: log lines, figures
    standin/            our own Twilio, model and business, for demo, tests and rehearsals

Data flows one way and imports form a line: dsp <- call (pure) <- twilio, realtime <- transport <- phrases <- session
<- server <- cli. Pure rooms import no I/O and no clock. `make check` enforces both (pyproject.toml, importlinter).

Words: caller, model, call, human (whom a call is transferred to), uplink (caller to model), downlink, frame (20 ms: 160
mu-law bytes), delta (a piece of model audio as received), item (a message in the model's conversation), mark (Twilio's
playback receipt), turn, barge-in, heard (proved by marks and the playback clock), said (generated), greeting, notice
(the recording announcement, part of the greeting), ledger, stand-in.
Three clocks, three suffixes: `now` (Trio, seconds), `media_ms` (Twilio's stream time), `item_ms` (inside a model item).
"""
