-- The ledger's tables. Columns carry the names of the fields in relay/ledger/rows.py.
-- No foreign keys: rows are written when they come, and one that waited in a relay's spill may come before its call.
-- Null means "not known": rows are completed by later ones (sql/statements.sql).

create table calls (
    call_sid text primary key,
    started_at timestamptz,
    from_number text,                          -- personal data
    to_number text,
    caller_state text,
    machine text,
    region text,
    image text,
    model text,
    voice text,
    prompt_hash text,
    greeting_rung text,
    greeting_ms double precision,              -- from the stream's start
    greeting_heard_ms double precision,
    webhook_greeting_ms double precision,      -- from the webhook
    webhook_greeting_heard_ms double precision,
    resumed integer
);
create index calls_by_caller on calls (from_number, started_at);
create index calls_by_start on calls (started_at);

create table transcripts (
    call_sid text not null,
    seq integer not null,
    role text not null check (role in ('caller', 'agent', 'system')),
    item_id text,
    said text,
    heard text,
    started_ms integer,                        -- since the call's start
    ended_ms integer,
    interrupted boolean,
    gap boolean,
    latency jsonb,
    primary key (call_sid, seq)
);

create table function_calls (
    call_sid text not null,
    function_call_id text not null,
    name text not null,
    arguments jsonb,
    output jsonb,
    ok boolean,
    took_ms double precision,
    key text unique,                           -- of functions that write: exactly one row may hold it
    state text check (state in ('reserved', 'done', 'failed', 'unknown')),
    primary key (call_sid, function_call_id)
);

create table call_outcomes (
    call_sid text primary key,
    ended_at timestamptz not null,
    end_reason text,
    fault text,
    seconds double precision,
    turns integer,
    barge_ins integer,
    cost_usd numeric(12, 6),
    cost jsonb,
    outcome text,
    summary text,
    latency_p50_ms double precision,
    latency_p95_ms double precision,
    verified boolean,
    dialled text,                              -- personal data
    transfer_result text
);
create index call_outcomes_by_end on call_outcomes (ended_at);

create table consents (
    call_sid text not null,
    seq integer not null,
    announced text,
    version text,
    rule text,
    announced_at timestamptz,
    heard_at timestamptz,
    primary key (call_sid, seq)
);

create table greetings (
    key text primary key,
    text text not null,
    mulaw bytea not null,                      -- 8 kHz mono
    ms integer not null,
    voice text not null,
    model text not null,
    transcript text not null,
    loudness_dbfs double precision not null,
    created_at timestamptz not null
);

create table messages (
    call_sid text not null,
    seq integer not null,
    name text,
    phone text,                                -- personal data
    text text,
    created_at timestamptz,
    delivered boolean,
    primary key (call_sid, seq)
);
