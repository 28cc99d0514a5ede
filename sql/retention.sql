-- The statements that delete callers' words and numbers, each under its name. relay/retention/ runs them: `relay erase` for
-- one caller or one call, and each day for calls that are older than RETENTION_DAYS_WORDS.
-- `sids` are the calls to delete. `running` are calls that run now: none of their rows is changed. `number` is the caller's
-- number. `written` is a regular expression that finds the number in any spelling. If `number` and `written` are null, the
-- statements change only rows of `sids`.
-- Each delete_ statement returns the call of each row that it changed.

-- name: delete_transcripts
delete from transcripts
where call_sid = any(%(sids)s) or (call_sid <> all(%(running)s) and (said ~ %(written)s or heard ~ %(written)s))
returning call_sid

-- name: delete_function_calls
-- The function's name and its success stay. `key` is deleted too, because it is a hash of the arguments. (A call that runs
-- keeps its keys and results, because with them no function is run twice.)
update function_calls set
    arguments = null, output = null, key = case when call_sid = any(%(sids)s) then null else key end
where (call_sid = any(%(sids)s) and num_nonnulls(arguments, output, key) > 0)
    or (call_sid <> all(%(running)s) and (arguments::text ~ %(written)s or output::text ~ %(written)s))
returning call_sid

-- name: delete_messages
delete from messages
where call_sid = any(%(sids)s)
    or (call_sid <> all(%(running)s) and (phone = %(number)s or phone ~ %(written)s or text ~ %(written)s))
returning call_sid

-- name: delete_outbox
delete from outbox
where call_sid = any(%(sids)s)
    or (coalesce(call_sid, '') <> all(%(running)s) and (body::text ~ %(written)s or words ~ %(written)s))
returning call_sid

-- name: delete_reviews
-- The verdict stays, so that the console's page Listen does not show this call again.
update reviews set note = null where call_sid = any(%(sids)s) and note is not null returning call_sid

-- name: delete_call_outcomes
-- `dialled` stays: it is a number of the business.
update call_outcomes set summary = null
where (call_sid = any(%(sids)s) and summary is not null)
    or (call_sid <> all(%(running)s) and summary ~ %(written)s)
returning call_sid

-- name: delete_calls
-- `later` are calls with data that may still come, or that this run cannot reach. Their number stays, because the next run
-- finds them by it.
update calls set
    from_number = case when call_sid = any(%(later)s) then from_number end,
    caller_state = null,
    words_deleted_at = clock_timestamp()
where call_sid = any(%(sids)s) and (num_nonnulls(from_number, caller_state) > 0 or words_deleted_at is null)
returning call_sid

-- Only for `relay erase`

-- name: delete_appointments
-- Deletes past and future appointments. Their history is deleted with them (on delete cascade).
delete from appointments
where call_sid = any(%(sids)s)
    or (coalesce(call_sid, '') <> all(%(running)s) and (phone = %(number)s or phone ~ %(written)s))
returning call_sid

-- name: delete_notes_of_others
-- If the notes of another person's appointment contain the number, these notes are deleted. The appointment stays.
update appointments set notes = '' where coalesce(call_sid, '') <> all(%(running)s) and notes ~ %(written)s
returning call_sid

-- name: delete_recordings
-- Deletes the waveforms (peaks). `elsewhere` are recordings whose files are not on this machine. Their rows do not change.
update recordings set peaks = null, deleted_at = coalesce(deleted_at, clock_timestamp())
where call_sid = any(%(sids)s) and name <> all(%(elsewhere)s) and (peaks is not null or deleted_at is null)
returning call_sid

-- name: calls_of
-- The calls of a number, or one call. `may_run` is true if the call may run now, may be with a human now, or ended less than
-- a minute ago. No call lasts longer than four hours at Twilio. `has_end` is false if the call's last rows are not in
-- Postgres.
select t.call_sid, c.started_at, c.machine, o.call_sid is not null as has_end,
    coalesce(case
        when o.call_sid is null or (o.dialled is not null and o.transfer_result is null)
            then c.started_at > clock_timestamp() - interval '4 hours'
        else o.ended_at > clock_timestamp() - interval '1 minute'
    end, false) as may_run
from (select call_sid from calls where from_number = %(number)s
    union select %(call_sid)s::text where %(call_sid)s::text is not null) as t
left join calls as c using (call_sid) left join call_outcomes as o using (call_sid)
order by c.started_at, t.call_sid

-- name: coming_appointments
select service, lower(span) as starts_at from appointments
where (call_sid = any(%(sids)s)
    or (coalesce(call_sid, '') <> all(%(running)s) and (phone = %(number)s or phone ~ %(written)s)))
    and state = 'booked' and upper(span) > clock_timestamp()
order by lower(span)

-- name: sounds_at_twilio
-- The URLs of messages that callers recorded because nobody took their call. Twilio has the sound of these messages.
select distinct substring(text from 'https://\S+/Recordings/RE\w+') as url from messages
where (call_sid = any(%(sids)s)
    or (call_sid <> all(%(running)s) and (phone = %(number)s or phone ~ %(written)s)))
    and text ~ 'https://\S+/Recordings/RE\w+'
order by url

-- name: recordings_of
select name, call_sid, stored_in, created_at from recordings where call_sid = any(%(sids)s) and deleted_at is null

-- name: mark_recordings
-- This runs before the files are deleted. So even if the command is killed in between, no row shows a recording whose file
-- is gone.
update recordings set peaks = null, deleted_at = clock_timestamp() where name = any(%(names)s) and deleted_at is null

-- name: erased
insert into audit (what) values (%(what)s)

-- Only for the deletion by age

-- name: group_of_calls
-- The next calls after the call `after_sid`, which began at `after`, oldest first. `has_words` is true if a call has words
-- or a number.
select c.call_sid, c.started_at,
    num_nonnulls(c.from_number, c.caller_state) > 0
    or exists (select from transcripts as t where t.call_sid = c.call_sid)
    or exists (select from function_calls as f where f.call_sid = c.call_sid and num_nonnulls(f.arguments, f.output) > 0)
    or exists (select from messages as m where m.call_sid = c.call_sid)
    or exists (select from outbox as b where b.call_sid = c.call_sid)
    or exists (select from reviews as r where r.call_sid = c.call_sid and r.note is not null)
    or exists (select from call_outcomes as o where o.call_sid = c.call_sid and o.summary is not null) as has_words
from (
    select call_sid, started_at, from_number, caller_state from calls
    where started_at < %(before)s and (started_at, call_sid) > (%(after)s::timestamptz, %(after_sid)s::text)
    order by started_at, call_sid limit %(limit)s
) as c
order by c.started_at, c.call_sid

-- name: delete_old_appointments
-- Deletes only past appointments.
delete from appointments where id in (
    select id from appointments where upper(span) < %(before)s order by id limit %(limit)s) returning id

-- name: delete_old_news
-- News is deleted by its own age, because digests and alarms belong to no call.
delete from outbox where (news, channel) in (
    select news, channel from outbox where created_at < %(before)s order by number limit %(limit)s)
returning news
