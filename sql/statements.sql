-- The ledger's statements, each under its name (relay/ledger/statements.py reads them).
-- A keep_ statement takes many rows as one JSON array. If a row exists already, it is merged with the new one: where the new
-- row has null, the old value stays. Other values are replaced. merge() in rows.py does the same.

-- name: keep_calls
insert into calls as t (
    call_sid, started_at, from_number, to_number, caller_state, machine, region, image, model, voice, prompt_hash,
    greeting_rung, greeting_ms, greeting_heard_ms, webhook_greeting_ms, webhook_greeting_heard_ms, resumed, process,
    spent_usd, spent_at, is_test)
select
    call_sid, started_at, from_number, to_number, caller_state, machine, region, image, model, voice, prompt_hash,
    greeting_rung, greeting_ms, greeting_heard_ms, webhook_greeting_ms, webhook_greeting_heard_ms, resumed, process,
    spent_usd, spent_at, is_test
from jsonb_populate_recordset(null::calls, %(rows)s::jsonb)
on conflict (call_sid) do update set (
    started_at, from_number, to_number, caller_state, machine, region, image, model, voice, prompt_hash,
    greeting_rung, greeting_ms, greeting_heard_ms, webhook_greeting_ms, webhook_greeting_heard_ms, resumed, process,
    spent_usd, spent_at, is_test) = (
    -- If a call has two streams, the values of the later stream are kept, in whatever order the rows arrive: a is the row of
    -- the later stream, b is the other row.
    select
        coalesce(a.started_at, b.started_at), coalesce(a.from_number, b.from_number),
        coalesce(a.to_number, b.to_number), coalesce(a.caller_state, b.caller_state),
        coalesce(a.machine, b.machine), coalesce(a.region, b.region), coalesce(a.image, b.image),
        coalesce(a.model, b.model), coalesce(a.voice, b.voice), coalesce(a.prompt_hash, b.prompt_hash),
        coalesce(a.greeting_rung, b.greeting_rung), coalesce(a.greeting_ms, b.greeting_ms),
        coalesce(a.greeting_heard_ms, b.greeting_heard_ms), coalesce(a.webhook_greeting_ms, b.webhook_greeting_ms),
        coalesce(a.webhook_greeting_heard_ms, b.webhook_greeting_heard_ms), coalesce(a.resumed, b.resumed),
        coalesce(a.process, b.process), coalesce(a.spent_usd, b.spent_usd), coalesce(a.spent_at, b.spent_at),
        coalesce(a.is_test, b.is_test)
    from (select coalesce(excluded.resumed, 0) >= coalesce(t.resumed, 0) as newer) as which,
        lateral (select excluded.* where which.newer union all select t.* where not which.newer) as a,
        lateral (select t.* where which.newer union all select excluded.* where not which.newer) as b)

-- name: keep_transcripts
insert into transcripts as t (
    call_sid, seq, role, item_id, said, heard, started_ms, ended_ms, interrupted, gap, latency)
select call_sid, seq, role, item_id, said, heard, started_ms, ended_ms, interrupted, gap, latency
from jsonb_populate_recordset(null::transcripts, %(rows)s::jsonb)
on conflict (call_sid, seq) do update set
    role = excluded.role,
    item_id = coalesce(excluded.item_id, t.item_id),
    said = coalesce(excluded.said, t.said),
    heard = coalesce(excluded.heard, t.heard),
    started_ms = coalesce(excluded.started_ms, t.started_ms),
    ended_ms = coalesce(excluded.ended_ms, t.ended_ms),
    interrupted = coalesce(excluded.interrupted, t.interrupted),
    gap = coalesce(excluded.gap, t.gap),
    latency = coalesce(excluded.latency, t.latency)

-- name: keep_function_calls
-- If another row has the idempotency key already, this row gets no key. The other row did the work, and this one is a repeat.
insert into function_calls as t (
    call_sid, function_call_id, name, arguments, output, ok, took_ms, key, state)
select
    n.call_sid, n.function_call_id, n.name, n.arguments, n.output, n.ok, n.took_ms,
    case when exists (
        select from function_calls as o
        where o.key = n.key and (o.call_sid, o.function_call_id) <> (n.call_sid, n.function_call_id)
    ) then null else n.key end,
    n.state
from jsonb_populate_recordset(null::function_calls, %(rows)s::jsonb) as n
on conflict (call_sid, function_call_id) do update set
    name = excluded.name,
    arguments = coalesce(excluded.arguments, t.arguments),
    took_ms = coalesce(excluded.took_ms, t.took_ms),
    key = coalesce(excluded.key, t.key),
    -- A row in the state done has the result of the same attempt. It may have words that could not be stored earlier,
    -- because the caller had not heard the notice.
    output = case when t.state = 'done' and excluded.state is distinct from 'done' then coalesce(t.output, excluded.output)
        else coalesce(excluded.output, t.output) end,
    ok = case when t.state = 'done' then coalesce(t.ok, excluded.ok) else coalesce(excluded.ok, t.ok) end,
    state = case when t.state = 'done' then t.state else coalesce(excluded.state, t.state) end

-- name: settle_function_calls
update function_calls as t set state = n.state, ok = n.ok, output = n.output
from jsonb_populate_recordset(null::function_calls, %(rows)s::jsonb) as n
where t.key = n.key and t.state is distinct from 'done'

-- name: keep_call_outcomes
insert into call_outcomes as t (
    call_sid, ended_at, end_reason, fault, seconds, turns, barge_ins, cost_usd, cost, outcome, summary,
    latency_p50_ms, latency_p95_ms, verified, dialled, transfer_result, process, seq, voice_fault)
select
    call_sid, ended_at, end_reason, fault, seconds, turns, barge_ins, cost_usd, cost, outcome, summary,
    latency_p50_ms, latency_p95_ms, verified, dialled, transfer_result, process, seq, voice_fault
from jsonb_populate_recordset(null::call_outcomes, %(rows)s::jsonb)
on conflict (call_sid) do update set (
    ended_at, end_reason, fault, seconds, turns, barge_ins, cost_usd, cost, outcome, summary, latency_p50_ms,
    latency_p95_ms, verified, dialled, transfer_result, process, seq, voice_fault) = (
    -- The values of the row with the higher seq are kept, in whatever order the rows arrive: a is this row, b is the other
    -- row. A null in a replaces nothing.
    select
        coalesce(a.ended_at, b.ended_at), coalesce(a.end_reason, b.end_reason), coalesce(a.fault, b.fault),
        coalesce(a.seconds, b.seconds), coalesce(a.turns, b.turns), coalesce(a.barge_ins, b.barge_ins),
        coalesce(a.cost_usd, b.cost_usd), coalesce(a.cost, b.cost), coalesce(a.outcome, b.outcome),
        coalesce(a.summary, b.summary), coalesce(a.latency_p50_ms, b.latency_p50_ms),
        coalesce(a.latency_p95_ms, b.latency_p95_ms), coalesce(a.verified, b.verified),
        coalesce(a.dialled, b.dialled), coalesce(a.transfer_result, b.transfer_result),
        coalesce(a.process, b.process), coalesce(a.seq, b.seq), coalesce(a.voice_fault, b.voice_fault)
    from (select coalesce(excluded.seq, 0) >= coalesce(t.seq, 0) as newer) as which,
        lateral (select excluded.* where which.newer union all select t.* where not which.newer) as a,
        lateral (select t.* where which.newer union all select excluded.* where not which.newer) as b)

-- name: keep_consents
insert into consents as t (call_sid, seq, announced, version, rule, announced_at, heard_at, refused_at)
select call_sid, seq, announced, version, rule, announced_at, heard_at, refused_at
from jsonb_populate_recordset(null::consents, %(rows)s::jsonb)
on conflict (call_sid, seq) do update set
    announced = coalesce(excluded.announced, t.announced),
    version = coalesce(excluded.version, t.version),
    rule = coalesce(excluded.rule, t.rule),
    announced_at = coalesce(excluded.announced_at, t.announced_at),
    heard_at = coalesce(excluded.heard_at, t.heard_at),
    refused_at = coalesce(excluded.refused_at, t.refused_at)

-- name: keep_messages
insert into messages as t (call_sid, seq, name, phone, text, created_at, delivered)
select call_sid, seq, name, phone, text, created_at, delivered
from jsonb_populate_recordset(null::messages, %(rows)s::jsonb)
on conflict (call_sid, seq) do update set
    name = coalesce(excluded.name, t.name),
    phone = coalesce(excluded.phone, t.phone),
    text = coalesce(excluded.text, t.text),
    created_at = coalesce(excluded.created_at, t.created_at),
    delivered = coalesce(excluded.delivered, t.delivered)

-- name: keep_recordings
insert into recordings as t (
    name, call_sid, started_ms, length_ms, stored_in, n_bytes, key_id, ended, peaks_step_ms, peaks, created_at,
    deleted_at)
select
    name, call_sid, started_ms, length_ms, stored_in, n_bytes, key_id, ended, peaks_step_ms, peaks, created_at,
    deleted_at
from jsonb_populate_recordset(null::recordings, %(rows)s::jsonb)
on conflict (name) do update set
    call_sid = excluded.call_sid,
    started_ms = coalesce(excluded.started_ms, t.started_ms),
    length_ms = coalesce(excluded.length_ms, t.length_ms),
    stored_in = coalesce(excluded.stored_in, t.stored_in),
    n_bytes = coalesce(excluded.n_bytes, t.n_bytes),
    key_id = coalesce(excluded.key_id, t.key_id),
    ended = coalesce(excluded.ended, t.ended),
    peaks_step_ms = coalesce(excluded.peaks_step_ms, t.peaks_step_ms),
    peaks = coalesce(excluded.peaks, t.peaks),
    created_at = coalesce(excluded.created_at, t.created_at),
    deleted_at = coalesce(excluded.deleted_at, t.deleted_at)

-- name: keep_recording_pauses
insert into recording_pauses as t (call_sid, from_ms, to_ms, why)
select call_sid, from_ms, to_ms, why
from jsonb_populate_recordset(null::recording_pauses, %(rows)s::jsonb)
on conflict (call_sid, from_ms) do update set
    to_ms = coalesce(excluded.to_ms, t.to_ms),
    why = coalesce(excluded.why, t.why)

-- name: keep_outbox
-- News that exists already is not changed, because it may have been sent.
insert into outbox (news, channel, call_sid, kind, body, created_at)
select news, channel, call_sid, kind, body, created_at
from jsonb_populate_recordset(null::outbox, %(rows)s::jsonb)
on conflict (news, channel) do nothing

-- name: keep_greeting
insert into greetings (key, text, mulaw, ms, voice, model, transcript, loudness_dbfs, created_at)
values (%(key)s, %(text)s, %(mulaw)s, %(ms)s, %(voice)s, %(model)s, %(transcript)s, %(loudness_dbfs)s, %(created_at)s)
on conflict (key) do update set
    text = excluded.text, mulaw = excluded.mulaw, ms = excluded.ms, voice = excluded.voice, model = excluded.model,
    transcript = excluded.transcript, loudness_dbfs = excluded.loudness_dbfs, created_at = excluded.created_at

-- name: load_greeting
select key, text, mulaw, ms, voice, model, transcript, loudness_dbfs, created_at
from greetings where key = %(key)s

-- name: reserve
-- Writes the row that reserves the key. If this function call has a row without a key already, that row gets the key.
-- If another row has the key, nothing is returned, or the unique index makes the statement fail.
insert into function_calls as t (call_sid, function_call_id, name, arguments, key, state)
select %(call_sid)s, %(function_call_id)s, %(function)s, %(arguments)s, %(key)s, 'reserved'
where not exists (select from function_calls where key = %(key)s)
on conflict (call_sid, function_call_id) do update set key = excluded.key, state = excluded.state
where t.key is null
returning key

-- name: reserved_before
select state, ok, output from function_calls where key = %(key)s

-- name: fetch_call
select %(call_sid)s as call_sid, coalesce(c.resumed, 0) as resumed, c.started_at, o.ended_at, o.end_reason,
    o.transfer_result, coalesce(o.seq, 0) as outcome_seq
from (select * from calls where call_sid = %(call_sid)s) as c
full join (select * from call_outcomes where call_sid = %(call_sid)s) as o using (call_sid)

-- name: spent_usd
-- The cost of the calls that have ended, and the cost so far of the running calls.
-- `besides` is the id of a relay process. Its calls are left out, because this process counts them itself.
select coalesce(sum(greatest(o.cost_usd, c.spent_usd)), 0)
from (
    select call_sid, cost_usd from call_outcomes
    where ended_at >= %(since)s and ended_at < %(until)s and process is distinct from %(besides)s
) as o
full join (
    -- No call lasts a day, and this condition makes Postgres use the index on started_at.
    select call_sid, spent_usd from calls
    where started_at >= %(since)s - interval '1 day' and spent_at >= %(since)s and spent_at < %(until)s
        and process is distinct from %(besides)s
) as c using (call_sid)

-- name: numbers_called
select distinct to_number from calls where to_number is not null order by to_number

-- name: calls_from
-- "" means callers with a hidden number. Test calls do not count.
select count(*) from calls
where (from_number = %(number)s or (%(number)s = '' and from_number is null
    and words_deleted_at is null))  -- A number that was deleted is not a hidden number.
    and started_at > now() - make_interval(secs => %(since_s)s) and is_test is not true

-- name: list_calls
select c.call_sid, c.started_at, c.from_number, c.greeting_ms, o.seconds, o.turns, o.cost_usd, o.end_reason, o.fault,
    o.outcome, o.verified, c.is_test
from calls as c left join call_outcomes as o using (call_sid)
order by c.started_at desc nulls last limit %(limit)s
