-- The diary of the embedded backend. After each column: what it holds for retention and erasure
-- (personal, words, cost or none).

-- Who or what can be booked once at a time. The exclusion below needs a number, not a name.
create table diary_resources (
    resource bigint generated always as identity primary key,  -- none
    name text not null,                                        -- none: a person of the business, or a kind of place
    number integer not null,                                   -- none: 0 for a person; places are counted from 1
    unique (name, number)
);

create table appointments (
    id bigint generated always as identity primary key,        -- none
    service text not null,                                     -- none
    resource bigint not null references diary_resources,       -- none
    span tstzrange not null,                                   -- none: from its start until the resource is free again
    minutes integer not null check (minutes > 0),              -- none: without the buffer after it
    state text not null default 'booked' check (state in ('booked', 'cancelled')),  -- none
    name text not null,                                        -- personal
    phone text not null,                                       -- personal
    notes text not null default '',                            -- words: what the caller asked to be noted
    call_sid text,                                             -- none: the call that made it; null: the owner
    created_at timestamptz not null default clock_timestamp(), -- none
    constraint appointments_never_doubled
        exclude using gist (int8range(resource, resource, '[]') with &&, span with &&) where (state = 'booked')
);
create index appointments_by_start on appointments (lower(span)) where state = 'booked';
create index appointments_by_phone on appointments (phone);

-- Appointments with the names of their resources, and times in minutes since 1970.
create view diary_entries as
select a.id, a.service, r.name as who, r.number, (extract(epoch from lower(a.span)) / 60)::bigint as start_min, a.minutes,
    (extract(epoch from upper(a.span) - lower(a.span)) / 60)::bigint as busy_min, a.name, a.phone, a.notes, a.state,
    a.call_sid, a.span
from appointments as a join diary_resources as r using (resource);

-- One row per change: how the appointment stood after it. `key` is the exactly-once key of a change by a caller.
create table appointment_history (
    id bigint generated always as identity primary key,        -- none
    appointment bigint not null references appointments on delete cascade,  -- none
    kind text not null check (kind in ('booked', 'moved', 'cancelled')),    -- none
    at timestamptz not null default clock_timestamp(),         -- none
    by text not null check (by in ('caller', 'owner')),        -- none
    call_sid text,                                             -- none: the call that changed it
    key text unique,                                           -- none
    resource bigint not null references diary_resources,       -- none
    span tstzrange not null                                    -- none
);
create index appointment_history_by_appointment on appointment_history (appointment);

-- Time in which nothing is booked: for one person or kind of place, or (who = '') for the whole business.
create table blocks (
    id bigint generated always as identity primary key,        -- none
    who text not null default '',                              -- none
    span tstzrange not null,                                   -- none
    why text not null default '',                              -- none: the owner's words
    created_at timestamptz not null default clock_timestamp()  -- none
);
create index blocks_by_span on blocks using gist (span);
