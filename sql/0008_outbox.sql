-- What the owner is to be told, one row a channel. After each column: what it holds (personal, words, cost or none).
create table outbox (
    news text not null,                        -- none: its id; who gets it twice knows it by this
    channel text not null,                     -- none: email or webhook
    call_sid text,                             -- none
    kind text not null,                        -- none
    body jsonb not null,                       -- personal, words: a message, a booking
    created_at timestamptz not null,           -- none
    number bigint generated always as identity,  -- none: the order in which news of a call came
    state text not null default 'waiting' check (state in ('waiting', 'sent', 'dead')),  -- none
    tries integer not null default 0,          -- none
    next_at timestamptz not null default clock_timestamp(),  -- none: not before this
    leased_until timestamptz,                  -- none: a machine is sending it
    words text,                                -- none: what came back at the last try
    sent_at timestamptz,                       -- none
    primary key (news, channel)
);
create index outbox_waiting on outbox (next_at) where state = 'waiting';
create index outbox_of_call on outbox (call_sid, channel, number);
