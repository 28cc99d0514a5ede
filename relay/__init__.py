"""The relay: a phone call on one side, a realtime model on the other. This file is the map. It has no code.

Each line is a sentence. Its subject is the file or the folder at the beginning of the line.

The rooms above the calls. The audio between caller and model does not pass through these rooms:

    cli.py                    reads a command's arguments and calls the code that does the work
    server/                   is the process
      app.py                  runs everything that lives longer than a call, and drains before a stop
      http.py                 serves HTTP and the sockets on one port
      webhooks.py             answers Twilio: a phone rings, a stream has ended, a call has ended
      admission.py            decides which calls get the agent, the human, or nobody
      human_transfer.py       connects a caller with the human
      media_endpoint.py       decides who may open a media socket: signature, token, start message
      console_door.py         decides who may open a socket of the console: session and origin
      console_sockets.py      names the code that serves each socket of the console
      live_calls.py           shows the owner the running calls, and takes the owner's orders
      listening_in.py         sends the sound of a running call to a browser
      browser_calls.py        runs test calls from the console's page
      fly_replay.py           finds the Fly Machine that has the call
      briefings.py            makes briefings at the start, and again when a file of the owner changes
      owner.py                gives the console what it shows of the process: health, files, diary, recordings
      descriptors.py          raises the limit of file descriptors, so that there are enough for the calls
      check.py                finds every mistake of the settings, the business file, the prompts and the functions

The rooms of a call. The caller's audio passes through these rooms, from transport/ to realtime/ and back to
transport/. voices/ and phrases/ are other sources of sound for the caller:

    transport/                carries bytes and messages on sockets, to the caller and to the model
      hub.py                  looks at all sockets in each pass of the loop, and hands over what has come
      wire.py                 carries bytes on a socket, with TLS or not
      websocket.py            makes messages of the bytes, and bytes of the messages
      handshake.py            opens a WebSocket on a wire
      overload.py             measures whether the loop is behind
      ticker.py               is one timer for all watchdogs
    twilio/                   knows Twilio
      media_protocol.py       reads and makes Twilio's messages: frames, marks, digits (pure)
      caller_id.py            reads who calls, and how far the number can be trusted (pure)
      twiml.py                makes the documents that tell Twilio what to do with a call (pure)
      signature.py            proves that a request comes from Twilio (pure)
      tokens.py               makes the tokens that open a media socket once
      rest.py                 calls Twilio's REST API
    browser/                  has the same functions for a test call as media_protocol.py has for a phone (pure)
    session/                  is the shell of a call: it does what call/ decides
      call_session.py         runs three tasks: Twilio reader, OpenAI reader, watchdog
      uplink.py               fills gaps, and makes appends of the caller's frames
      downlink.py             makes mu-law of the model's deltas
      caller_protocol.py      says what a protocol of the caller's socket must have; it is a phone's or a browser's
      caller_probe.py         finds out whether the caller's socket is alive
      caller_words.py         answers what a function asks about the caller's words
      model_connector.py      opens the model sessions of a call, or takes one that is ready
      spoken_answers.py       lets another voice speak the model's text
      warm_voices.py          keeps the voices that are opened when a phone rings
      function_runner.py      runs functions and writes their rows
      reservations.py         reserves idempotency keys in Postgres, without words that may not be kept
      call_rows.py            writes the rows, the figures and the last log line of a call
      call_file.py            keeps what a call needs for longer than one stream
      call_files.py           keeps the files of all calls of this process
      owner_orders.py         carries the owner's orders out
      leaving.py              hangs up, and closes the caller's socket after the last words
      context.py              is the desk: what all calls of a process share
      briefing.py             holds what a call knows of the business
      bills.py                counts the cost of a model session that nobody heard
      day_bill.py             counts the dollars of today, over all machines
    call/                     decides: an event and the time come in, actions come out (pure)
      machine.py              gives each event to the file that decides about it
      state.py                is the state of a call, which all files of call/ share
      vocabulary.py           names the events, the ids, and the ways in which a call can end
      actions.py              names what a call can do
      call_config.py          holds what a call is told before it begins
      greeting.py             says the first words, on the rung that is ready first
      turns.py                decides what follows from the caller's speech, words and keys
      caller_turns.py         remembers when each turn of the caller began, and whether its words are awaited
      turn_taking.py          decides who may speak
      turn_end.py             decides how much silence ends the caller's turn
      early_answer.py         keeps the caller's open turn and its early answer
      answering_early.py      ends an open turn, and lets its early answer be heard
      early_governor.py       decides whether early answers are worth their cost
      level_vad.py            finds the caller's voice by its level
      echo.py                 knows how loud our own voice may come back from the caller's phone
      gap_filling.py          says how much silence replaces caller audio that is missing
      unheard_speech.py       finds speech that the model's VAD does not report
      interruption.py         holds the agent, lets it go on, or gives its answer up
      rest.py                 keeps the rest of an answer that was given up
      words.py                finds out what a transcript means
      refusal.py              hears that the caller does not want their words kept
      consent.py              decides whether words may be kept
      consent_law.py          knows by law who must hear the notice
      keypad.py               collects the keys that the caller presses
      presence.py             knows how long nobody has heard from the caller
      responses.py            handles the model's answers while they are generated
      response_queue.py       is the only place that asks the model for an answer (response.create)
      conversation.py         keeps the turns in order: what was said, and what was heard
      playout.py              knows what was sent to the caller, what was heard, and where it is cut
      voice_loss.py           goes on with the model's own voice when the other voice is lost
      function_calls.py       starts functions, and has their outputs answered
      running_functions.py    knows which functions run, and which of them the caller waits for
      liveness.py             measures dead air, and says what must be done against it
      sessions.py             knows which model session serves the call
      failover.py             moves the call from one model session to the next
      escalation.py           finds a reason to bring a human, without the model
      ending.py               ends the call: limits, silence, transfer, last words
      orders.py               obeys the owner's orders
      view.py                 says what a watcher sees of a call
      wording.py              holds the texts that the relay sends to the model
      cost.py                 counts what the call has cost so far
      waterfall.py            measures how long the caller waits for an answer
    dsp/ (beside relay/)      makes PCM16 at 24 kHz of mu-law at 8 kHz, and back (pure)
      line.py                 converts and measures one frame, or one delta
      g711.py                 knows mu-law, and measures a level
      polyphase.py, taps.py   define the conversion and its filter
    realtime/                 knows OpenAI
      protocol.py             makes events of OpenAI's messages, and messages of our actions (pure)
      session_config.py       holds the settings of a model session (pure)
      client.py               opens model sessions, also warm ones for calls that ring
      refusals.py             knows which refusals of OpenAI need the operator
      prices.py               knows what a model costs (pure)
    voices/                   is another voice than the model's: text goes in, mu-law with text positions comes out
      voice.py                says what every voice must have (pure)
      elevenlabs_socket.py    speaks with ElevenLabs' server
    phrases/                  has the relay's own words
      prompts.py              reads and checks the texts of prompts/
      phrase_book.py          renders phrases once in the agent's voice, and keeps them
      clips/                  has the recordings that ship with the relay

The rooms beside the audio:

    functions/                is what the model may do
      registry.py             finds a function and runs it
      idempotency.py          makes sure that a function that writes runs once
      arguments.py            checks the model's arguments (pure)
      invented.py             finds values that the model has invented (pure)
      builtin/                has the functions that every relay has
      backend/                asks the backend of the business over HTTP
      claims/                 compares what the agent says with what was done (pure)
    business/                 is the embedded backend: business.toml and the diary
    ledger/                   writes rows to Postgres, off the audio path
      store.py                takes rows, and has them written
      backlog.py              keeps the rows that Postgres has not taken yet, in memory or on disk
      spill.py                is the folder on disk where rows wait while Postgres is away
      batch.py                writes many rows at once
      postgres_thread.py      is the thread that talks to Postgres
      dev_postgres/           is the embedded Postgres
    recordings/               keeps the sound of calls, encrypted
      recorder.py             records what both sides heard (pure)
      writer.py               is the thread that writes recordings
    console/                  has the owner's pages
      console.py              has the routes
      guard.py                decides who may see the pages
      reads.py                asks Postgres for the console
    notify/                   tells the owner: outbox, mail, webhook, alarms
    settings/                 reads the environment and .env, and checks both
    telemetry/                writes log lines and counts metrics
    standin/                  is our own Twilio, model and business, for demo, tests and rehearsals

Imports form a line. Each room imports only from rooms that stand before it here:

    dsp, call, settings and telemetry, transport, realtime and twilio and voices, browser, ledger, functions, phrases,
    business and recordings and notify, session, console, server, cli

Pure rooms import no I/O and no clock. `make check` enforces both (pyproject.toml, importlinter).

docs/architecture.md follows five paths through these files. docs/glossary.md explains the words.
There are three clocks with three names: `now` (Trio, seconds), `media_ms` (Twilio's stream time), `item_ms` (inside an
item of the model).
"""
