-- What orders and measures, where a clock may be set back; what a call has cost so far.
-- Marked: none, unless said otherwise.
alter table calls add column process text;              -- which run of the relay has the call
alter table calls add column spent_usd numeric(12, 6);  -- cost: so far, while it lives
alter table calls add column spent_at timestamptz;
alter table call_outcomes add column process text;
alter table call_outcomes add column seq bigint;        -- of two rows of a call the one with the higher number is later
-- The order in which a call's functions came: the clock of recorded_at may be set back.
alter table function_calls add column number bigint generated always as identity;
