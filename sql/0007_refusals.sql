-- A caller may say that their words are not to be kept: when they said so.
alter table consents add column refused_at timestamptz;   -- none
