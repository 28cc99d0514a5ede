-- When the words and the caller's number of a call were deleted: by age, or because the caller wanted it.
alter table calls add column words_deleted_at timestamptz;  -- none
