-- Another voice may speak what the model writes. In a call that lost it: why, in one word.
alter table call_outcomes add column voice_fault text;   -- none
