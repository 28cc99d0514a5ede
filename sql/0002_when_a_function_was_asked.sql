-- The order in which a call's functions came: their ids are random.
alter table function_calls add column recorded_at timestamptz not null default clock_timestamp();
