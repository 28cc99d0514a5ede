-- The outbox's statements (relay/notify/outbox.py). All times are the server's: machines' clocks differ.

-- name: claim
-- What is due, in the order of each call: news waits while an earlier one of its call and channel waits.
-- Who wants to be called back is told first.
with due as (
    select news, channel from outbox as o
    where state = 'waiting' and next_at <= clock_timestamp() and channel = any(%(channels)s)
        and (leased_until is null or leased_until < clock_timestamp())
        and not exists (
            select from outbox as e
            where e.call_sid = o.call_sid and e.channel = o.channel and e.number < o.number and e.state = 'waiting'
        )
    order by kind not in ('call_back', 'message'), number
    limit %(limit)s
    for update skip locked
)
update outbox as o set leased_until = clock_timestamp() + make_interval(secs => %(lease_s)s), tries = o.tries + 1
from due where (o.news, o.channel) = (due.news, due.channel)
returning o.news, o.channel, o.kind, o.body, o.created_at, o.call_sid, o.tries, (
    select count(*)::integer from outbox as b
    where b.channel = o.channel and b.kind = 'booking' and b.body ->> 'booking' = o.body ->> 'booking'
        and b.number < o.number
) as sequence

-- name: settle
update outbox set state = %(state)s, words = %(words)s, leased_until = null,
    sent_at = case when %(state)s = 'sent' then clock_timestamp() end,
    next_at = clock_timestamp() + make_interval(secs => %(pause_s)s)
where news = %(news)s and channel = %(channel)s and state = 'waiting'

-- name: next_in
-- Seconds until something is due or a lease is over; null if nothing waits.
select extract(epoch from min(greatest(next_at, coalesce(leased_until, next_at))) - clock_timestamp())::float8
from outbox where state = 'waiting' and channel = any(%(channels)s)

-- name: counts
select state, count(*)::integer from outbox group by state

-- name: list
select news, channel, kind, call_sid, state, tries, next_at, words, created_at from outbox
where state <> 'sent' order by number limit 200

-- name: again
update outbox set state = 'waiting', tries = 0, next_at = clock_timestamp() where state = 'dead'
