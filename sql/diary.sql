-- The diary's statements, each under its name. relay/business/diary_postgres.py uses them.

-- name: busy
select who, number, start_min, start_min + busy_min from diary_entries
where state = 'booked' and who = any(%(names)s) and id <> %(but)s
    and span && tstzrange(to_timestamp(%(start)s * 60::bigint), to_timestamp(%(end)s * 60::bigint))
    -- No appointment is longer than two days, so this condition finds all of them, with the index on the start.
    and lower(span) > to_timestamp((%(start)s - 2880) * 60::bigint) and lower(span) < to_timestamp(%(end)s * 60::bigint)

-- name: appointment
select id, service, who, number, start_min, minutes, busy_min, name, phone, notes, state, call_sid
from diary_entries where id = %(id)s

-- name: of_phone
select id, service, who, number, start_min, minutes, busy_min, name, phone, notes, state, call_sid
from diary_entries where phone = %(phone)s and state = 'booked' and start_min > %(after)s order by start_min

-- name: listed
select id, service, who, number, start_min, minutes, busy_min, name, phone, notes, state, call_sid
from diary_entries
where state = 'booked' and lower(span) >= to_timestamp(%(start)s * 60::bigint) and lower(span) < to_timestamp(%(end)s * 60::bigint)
order by start_min, who, number

-- name: last_name
select name from appointments where phone = %(phone)s order by id desc limit 1

-- name: change
select h.kind, h.by, h.call_sid, r.name, r.number, (extract(epoch from lower(h.span)) / 60)::bigint,
    (extract(epoch from upper(h.span) - lower(h.span)) / 60)::bigint, h.appointment
from appointment_history as h join diary_resources as r using (resource) where h.key = %(key)s

-- name: insert
insert into appointments (service, resource, span, minutes, state, name, phone, notes, call_sid)
values (%(service)s, %(resource)s, tstzrange(to_timestamp(%(start)s * 60::bigint), to_timestamp(%(end)s * 60::bigint)), %(minutes)s,
    %(state)s, %(name)s, %(phone)s, %(notes)s, %(made_by)s)
returning id

-- name: update
update appointments set resource = %(resource)s, state = %(state)s,
    span = tstzrange(to_timestamp(%(start)s * 60::bigint), to_timestamp(%(end)s * 60::bigint))
where id = %(id)s

-- name: add_change
insert into appointment_history (appointment, kind, by, call_sid, key, resource, span)
values (%(id)s, %(kind)s, %(by)s, %(call_sid)s, %(key)s, %(resource)s,
    tstzrange(to_timestamp(%(start)s * 60::bigint), to_timestamp(%(end)s * 60::bigint)))

-- name: resource
with made as (
    insert into diary_resources (name, number) values (%(name)s, %(number)s)
    on conflict (name, number) do nothing returning resource)
select resource from made
union all select resource from diary_resources where name = %(name)s and number = %(number)s

-- name: blocks
select id, who, why, (extract(epoch from lower(span)) / 60)::bigint, (extract(epoch from upper(span)) / 60)::bigint
from blocks where span && tstzrange(to_timestamp(%(start)s * 60::bigint), to_timestamp(%(end)s * 60::bigint)) order by span

-- name: add_block
insert into blocks (who, why, span)
values (%(who)s, %(why)s, tstzrange(to_timestamp(%(start)s * 60::bigint), to_timestamp(%(end)s * 60::bigint))) returning id

-- name: remove_block
delete from blocks where id = %(id)s
