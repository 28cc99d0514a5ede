"""The relay: a phone call on one side, a realtime model on the other. This is the map; there is no code here.

The rooms, in the order a caller's audio visits them:

    cli.py demo.py bench.py   the commands
    daemon.py           the process: nurseries by lifetime, admission, drain (settings.py prompts.py logs.py metrics.py)
    handover.py         HTTP and the media socket on one port
    twilio/incoming.py  a phone rings: the webhooks                            (twiml.py signature.py rest.py)
    twilio/stream.py    the media socket's door: signature, token, start       (tokens.py machines.py)
    wire.py             bytes on a socket, with TLS or not
    websocket.py        messages on a wire                     (text_frame.py)
    twilio/dialect.py   Twilio's JSON  <-> frames, marks, digits (pure)
    call/session.py     one nursery, three tasks: Twilio reader, OpenAI reader, watchdog (pace.py beat.py: the loop)
      uplink.py           frames to appends, gaps filled          downlink.py       deltas to mu-law, before playout
      model_supply.py     where its model sessions come from
    call/machine.py     an event and the time in, actions out (pure); its state is state.py, its rooms are
      greeting.py         the first words, by a ladder            turns.py          the caller's turns
      answering.py        the model's answers and functions       barge_in.py       stop, undo, give up
      handover.py         from one model session to the next      leaving.py        caps, silence, transfer, the end
      playout.py          what was sent, heard, cut off           floor.py          who may speak: hold, commit, resume
      caller_voice.py     the caller as a level                   echo.py           what of ours may come back
      answers.py          the one owner of response.create        conversation.py   what was said and heard, in order
      gaps.py             caller audio that never came            meter.py          what it cost
      escalation.py       ways to a human without a model         wording.py        what the model is told meanwhile
      vocabulary.py       events, ids, how a call can end         actions.py        what it wants done
                                                                  plan.py           what a call is told beforehand
    dsp/                mu-law 8 kHz <-> PCM16 24 kHz (pure)
    realtime/dialect.py OpenAI's JSON <-> events and actions (pure)            (configuration.py prices.py)
    realtime/session.py sessions: dialled, checked, kept warm
    realtime/greeting.py our own words in the agent's voice, rendered once; clips/ are the ones that ship

Beside the audio:

    desk.py             what all calls share, and the file of each call
    books.py            what a call leaves behind: rows, figures, one line
    functions/          what the model may do; the business's backend
    ledger/             Postgres, off the audio path
    states.py           who must hear the notice (pure)
    standin/            our own Twilio, model and business, for demo, tests and rehearsals

Data flows one way and imports form a line: dsp <- call (pure) <- dialects <- sockets <- call/session <- twilio/incoming
<- daemon <- cli. Rooms marked pure import neither trio, time, os, quart nor psycopg; `make check` enforces it.

Words: caller, model, call, human (whom a call is transferred to), uplink (caller to model), downlink, frame (20 ms: 160
mu-law bytes), delta (a piece of model audio as received), item (a message in the model's conversation), mark (Twilio's
playback receipt), turn, barge-in, heard (proved by marks and the playback clock), said (generated), greeting, notice
(the recording announcement, part of the greeting), ledger, stand-in.
Three clocks, three suffixes: `now` (Trio, seconds), `media_ms` (Twilio's stream time), `item_ms` (inside a model item).
"""
