-- What the owner does in the console. After each column: what it holds for retention and erasure
-- (personal, words, cost or none).

-- What the owner thinks of a call they listened to.
create table reviews (
    call_sid text primary key,                                      -- none
    verdict text check (verdict in ('good', 'bad')),                -- none; null: only a note
    note text,                                                      -- words: the owner's
    reviewed_at timestamptz not null default clock_timestamp()      -- none
);

-- Who looked at a recording, at a number in full, or took a call's data along.
create table audit (
    id bigint generated always as identity primary key,             -- none
    at timestamptz not null default clock_timestamp(),              -- none
    what text not null,                                             -- none
    call_sid text,                                                  -- none
    address text                                                    -- personal: the network address of who looked
);
create index audit_by_time on audit (at);

alter table messages add column done_at timestamptz;                -- none: when the owner had done what it asks for
create index messages_that_wait on messages (created_at) where done_at is null;

-- The console's search for words. 'simple': names and other languages are not to be stemmed.
create index transcripts_by_words on transcripts
    using gin (to_tsvector('simple', coalesce(heard, '') || ' ' || coalesce(said, '')));
create index function_calls_by_words on function_calls
    using gin (to_tsvector('simple', coalesce(arguments, '{}'::jsonb)));
create index function_calls_by_time on function_calls (recorded_at);
create index function_calls_by_name on function_calls (name);
