"""The relay connects phone calls with a realtime model. This file is the map of the code. It has no code itself.

Each line is a sentence about the file or the folder at its beginning. "Pure" means: it uses no clock and no I/O.

The packages for the process. The audio between caller and model does not go through them:

    cli.py                    reads a command's arguments and calls the code that does the work
    server/                   is the process: HTTP, webhooks, sockets, start and stop
      app.py                  runs everything that lives longer than a call, and drains before a stop
      http.py                 serves HTTP and the sockets on one port
      webhooks.py             answers Twilio's requests when a phone rings, a stream has ended, or a call has ended
      admission.py            decides which calls get the agent, the human, or nobody
      human_transfer.py       connects a caller with the human
      after_bug.py            answers a webhook in which our own code has failed
      media_endpoint.py       decides who may open a media socket: signature, token, start message
      console_door.py         decides who may open a socket of the console: session and origin
      console_sockets.py      lists the sockets of the console, and the code that serves each
      live_calls.py           gives the console the running calls, and gives calls the owner's orders
      listening_in.py         sends the sound of a running call to a browser
      browser_calls.py        runs test calls from the console's page
      fly_replay.py           sends a request on to another Fly Machine, for example to the one that has the call
      briefings.py            reads the owner's files at the start, and again when one of them changes
      owner.py                gives the console access to health, files, diary and recordings
      data_dir.py             holds a lock, so that only one relay uses DATA_DIR
      descriptors.py          raises the limit of file descriptors, so that all calls can have sockets
      check.py                finds every mistake of the settings, the business file, the prompts and the functions

The packages for one call. The caller's audio goes through them, from transport/ to realtime/. The model's audio goes
back to transport/. voices/ and phrases/ also make sound for the caller:

    transport/                carries bytes and messages on sockets, to the caller and to the model
      hub.py                  reads the sockets of all calls in the event loop, and hands over what has come
      wire.py                 sends and receives the bytes of a socket, with or without TLS
      websocket.py            turns bytes into WebSocket messages, and messages into bytes
      handshake.py            opens a WebSocket
      overload.py             measures whether the event loop is late
      ticker.py               runs the watchdogs of all calls with one timer
    twilio/                   has everything that is special to Twilio
      media_protocol.py       reads and makes the messages of Twilio's media socket (pure)
      caller_id.py            reads the caller's number, and whether it can be trusted (pure)
      twiml.py                makes TwiML: the XML that tells Twilio what to do with a call (pure)
      signature.py            checks that a request comes from Twilio (pure)
      tokens.py               makes the tokens with which Twilio opens a media socket. Each token works only once
      rest.py                 calls Twilio's REST API
    browser/                  does for a test call in the browser what media_protocol.py does for a phone (pure)
    session/                  is the shell of a call: it carries out what call/ decides
      call_session.py         runs the three tasks of a call: Twilio reader, OpenAI reader, watchdog
      uplink.py               fills gaps in the caller's audio, and makes the messages for the model
      downlink.py             converts the model's audio to mu-law
      caller_protocol.py      defines what the two protocols of the caller's socket (phone, browser) must have
      caller_probe.py         finds out whether the caller's socket still works
      caller_words.py         tells functions what the caller has said
      model_connector.py      opens the model sessions of a call, or takes one that is ready
      spoken_answers.py       sends the model's text to another voice, and its audio to the call
      warm_voices.py          holds the voices that were opened when the phone rang
      function_runner.py      runs functions and writes their rows
      reservations.py         reserves idempotency keys in Postgres
      call_rows.py            writes the rows, the statistics and the last log line of a call
      call_file.py            holds what a call needs for longer than one stream
      call_files.py           holds the call_file objects of all calls of this process
      owner_orders.py         gives the owner's orders to the call, and returns the answers
      leaving.py              hangs up, and closes the caller's socket after the last words
      context.py              holds what all calls of a process share (the desk)
      briefing.py             holds the version of the owner's files that a call uses
      bills.py                counts the cost of a model session that no caller heard
      day_bill.py             counts the dollars of today, for all machines together
    call/                     decides what a call does: it gets events and the time, and returns actions (pure)
      machine.py              gives each event to the module that decides about it
      state.py                holds the state of a call, which all modules of call/ share
      vocabulary.py           defines the events, the ids, and the end reasons
      actions.py              defines the actions
      call_config.py          holds the settings with which a call begins
      greeting.py             chooses the greeting: stored before the call, spoken live by the model, or a clip
      turns.py                decides what follows from the caller's speech, words and keys
      caller_turns.py         notes when each turn of the caller began, and whether its transcript has come
      turn_taking.py          decides whether the caller's sound stops the agent
      turn_end.py             decides after how much silence the caller's turn has ended
      early_answer.py         holds a turn in which the caller may go on (an open turn), and its early answer
      answering_early.py      ends an open turn, and then lets the caller hear the early answer
      early_governor.py       stops early answers when they cost too much
      level_vad.py            finds the caller's voice by the level of the sound
      echo.py                 estimates how loud the agent's voice comes back from the caller's phone
      gap_filling.py          says how much silence must replace missing caller audio
      unheard_speech.py       finds speech of the caller that the model's VAD does not report
      interruption.py         stops the agent, lets it go on, or gives its answer up
      rest.py                 holds the part of a given-up answer that the caller has not heard
      words.py                finds out what the caller's words mean: a wish for a human, an emergency, nothing
      refusal.py              finds out that the caller does not want to be recorded
      consent.py              decides whether words may be stored
      consent_law.py          decides which callers must hear the notice by law
      keypad.py               collects the keys that the caller presses
      presence.py             measures how long the caller has been silent
      responses.py            handles the events of the model's answers while they are generated
      response_queue.py       decides when the model is asked for an answer in a running call (response.create)
      conversation.py         holds the turns in order: what was said, and what was heard
      playout.py              decides when audio goes to the caller, and knows what the caller has heard
      voice_loss.py           lets the model speak by itself when the voice service has failed
      function_calls.py       starts functions, gives their outputs to the model, and fills the waiting time
      running_functions.py    holds which functions run, and for which of them the caller waits
      liveness.py             measures dead air, and decides what to do about it
      sessions.py             holds which model session serves the call
      failover.py             moves the call from one model session to the next
      escalation.py           holds the rules for when a human or the harder model takes the call
      ending.py               ends the call: at a limit, after silence, for a transfer, with last words
      orders.py               carries out the owner's orders
      view.py                 describes a running call for the page Live
      wording.py              holds the texts that the relay sends to the model
      cost.py                 counts what the call has cost so far
      waterfall.py            measures how long each step of an answer takes, from the caller's last sound
    dsp/ (beside relay/)      converts mu-law at 8 kHz to PCM16 at 24 kHz, and back (pure)
      line.py                 converts one frame or one delta, and measures its level
      g711.py                 decodes and encodes mu-law, and measures levels
      polyphase.py, taps.py   define the conversion and its filter
    realtime/                 has everything that is special to OpenAI
      protocol.py             turns OpenAI's messages into events, and our actions into messages (pure)
      session_config.py       holds the settings of a model session (pure)
      client.py               opens model sessions, also before a call is answered (warm sessions)
      refusals.py             decides which errors of OpenAI the operator must correct (pure)
      prices.py               has the prices of the models (pure)
    voices/                   speaks the model's text with the voice of another service
      voice.py                defines what every such voice must have (pure)
      elevenlabs_socket.py    is the connection to ElevenLabs
    phrases/                  has the sentences that the relay says by itself
      prompts.py              reads and checks the texts of prompts/
      phrase_book.py          makes a recording of each phrase in the agent's voice, and stores it
      clips/                  has recordings that are part of the repository

The other packages:

    functions/                has the functions that the model may call
      registry.py             finds a function by its name, and runs it
      idempotency.py          makes sure that a function that writes runs only once
      arguments.py            checks the model's arguments (pure)
      invented.py             finds argument values that the model seems to have invented (pure)
      builtin/                has the built-in functions
      backend/                sends HTTP requests to the backend of the business
      claims/                 compares what the agent says with what the functions did (pure)
    business/                 is the embedded backend: it reads business.toml and has the diary
    ledger/                   writes rows to Postgres, outside the audio path
      store.py                takes rows from the calls
      backlog.py              holds the rows that are not in Postgres yet, in memory or on disk
      spill.py                writes rows to disk while Postgres cannot be reached
      batch.py                writes many rows at once
      postgres_thread.py      is the thread that talks to Postgres
      dev_postgres/           is the embedded Postgres
    recordings/               records calls, and stores the recordings encrypted
      recorder.py             puts what the caller said and heard on one time line (pure)
      writer.py               is the thread that writes recordings
    retention/                deletes what callers left, because of its age or for `relay erase`
    console/                  serves the owner's pages
      console.py              has the HTTP routes
      guard.py                checks who may see the pages
      reads.py                has the queries of the console
    notify/                   sends mails, webhooks and alarms to the owner
    settings/                 reads the environment and .env, and checks both
    telemetry/                writes log lines and counts metrics
    standin/                  simulates Twilio, the model, the other voice and the business, for demos and tests

The packages have a fixed order. Each package imports only from packages that come before it here:

    dsp, call, settings and telemetry, transport, realtime and twilio and voices, browser, ledger, functions, phrases,
    business and recordings and notify, retention, session, console, server, cli

`make check` enforces this order, and that pure modules use no clock and no I/O (pyproject.toml, importlinter).

docs/architecture.md follows five paths through these files. docs/glossary.md explains the words.
Three clocks measure the time in a call, with three names: `now` (Trio, seconds), `media_ms` (Twilio's stream time),
`item_ms` (inside an item of the model). `utc_now` gives the date and the time of day.
"""
