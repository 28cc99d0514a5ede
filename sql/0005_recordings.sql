-- Recordings of calls: the sound is in encrypted files, here stands where, and a waveform of each.
-- Every column says whether it is personal data, words, cost, or none of them: for retention and erasure.

create table recordings (
    name text primary key,                     -- none (holds the call's sid): the file, in its folder and every store
    call_sid text not null,                    -- none
    started_ms integer,                        -- none: where it begins on the call's time line
    length_ms integer,                         -- none
    stored_in text,                            -- none: "disk" of calls.machine, or a store's URL
    n_bytes bigint,                            -- none
    key_id text,                               -- none: which key of RECORDING_KEY opens it
    ended text,                                -- none: "whole", "closed after a crash", or why it stopped
    peaks_step_ms integer,                     -- none: what a pair of peaks stands for
    peaks bytea,                               -- personal: pairs left, right; 0 is silence, 127 the loudest (mu-law)
    created_at timestamptz,                    -- none
    deleted_at timestamptz                     -- none: by age, or on request
);
create index recordings_by_call on recordings (call_sid, started_ms);

-- Where a call is not in its recording, and why: before the notice was heard, a function's wish, the caller's wish.
create table recording_pauses (
    call_sid text not null,                    -- none
    from_ms integer not null,                  -- none: on the call's time line
    to_ms integer,                             -- none; null: to the call's end
    why text,                                  -- none: words of ours
    primary key (call_sid, from_ms)
);
