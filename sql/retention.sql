-- What deletes callers' words and numbers, each statement under its name. relay/retention/ runs them: `relay erase` for
-- one caller or one call, and each day for calls that are older than RETENTION_DAYS_WORDS.
-- `sids` are the calls. `running` are calls that run: none of their rows is changed. `number` is the caller's number,
-- and `written` an expression that finds it in any spelling. Both are null if only the calls count.
-- Each delete_ statement returns the call of each row that it changed.

-- name: delete_transcripts
delete from transcripts
where call_sid = any(%(sids)s) or (call_sid <> all(%(running)s) and (said ~ %(written)s or heard ~ %(written)s))
returning call_sid

-- name: delete_function_calls
-- Which functions ran, and whether they worked, stays. `key` is a hash of arguments. (A call that runs needs its keys and
-- its results, so that nothing is done twice.)
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
-- The verdict stays. So the page Listen does not ask for the call again.
update reviews set note = null where call_sid = any(%(sids)s) and note is not null returning call_sid

-- name: delete_call_outcomes
-- `dialled` stays: it is a number of the business.
update call_outcomes set summary = null
where (call_sid = any(%(sids)s) and summary is not null)
    or (call_sid <> all(%(running)s) and summary ~ %(written)s)
returning call_sid

-- name: delete_calls
-- `later`: calls of which something may come later, or is out of reach. Their number stays: it finds them again.
update calls set
    from_number = case when call_sid = any(%(later)s) then from_number end,
    caller_state = null,
    words_deleted_at = clock_timestamp()
where call_sid = any(%(sids)s) and (num_nonnulls(from_number, caller_state) > 0 or words_deleted_at is null)
returning call_sid

-- Only for `relay erase`

-- name: delete_appointments
-- Future ones too. Their history goes with them.
delete from appointments
where call_sid = any(%(sids)s)
    or (coalesce(call_sid, '') <> all(%(running)s) and (phone = %(number)s or phone ~ %(written)s))
returning call_sid

-- name: delete_notes_of_others
-- An appointment of somebody else whose notes name the number. Only the notes are deleted.
update appointments set notes = '' where coalesce(call_sid, '') <> all(%(running)s) and notes ~ %(written)s
returning call_sid

-- name: delete_recordings
-- The waveforms. `elsewhere`: recordings that could not be deleted from here.
update recordings set peaks = null, deleted_at = coalesce(deleted_at, clock_timestamp())
where call_sid = any(%(sids)s) and name <> all(%(elsewhere)s) and (peaks is not null or deleted_at is null)
returning call_sid

-- name: calls_of
-- The calls of a number, or one call. `may_run`: it runs, or has ended a moment ago, or is with a human now. No call
-- lasts longer than four hours at Twilio. `has_end` false: its last rows are not in Postgres.
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
-- Messages that callers spoke after nobody had taken their call: Twilio has the sound.
select distinct substring(text from 'https://\S+/Recordings/RE\w+') as url from messages
where (call_sid = any(%(sids)s)
    or (call_sid <> all(%(running)s) and (phone = %(number)s or phone ~ %(written)s)))
    and text ~ 'https://\S+/Recordings/RE\w+'
order by url

-- name: recordings_of
select name, call_sid, stored_in, created_at from recordings where call_sid = any(%(sids)s) and deleted_at is null

-- name: mark_recordings
-- Before their files are deleted. A command that is killed in between leaves no row of a recording that is gone.
update recordings set peaks = null, deleted_at = clock_timestamp() where name = any(%(names)s) and deleted_at is null

-- name: erased
insert into audit (what) values (%(what)s)

-- Only by age

-- name: group_of_calls
-- The next calls after a place, oldest first, and whether they have words or a number.
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
-- Past ones only.
delete from appointments where id in (
    select id from appointments where upper(span) < %(before)s order by id limit %(limit)s) returning id

-- name: delete_old_news
-- By its own time: digests and alarms belong to no call.
delete from outbox where (news, channel) in (
    select news, channel from outbox where created_at < %(before)s order by number limit %(limit)s)
returning news
