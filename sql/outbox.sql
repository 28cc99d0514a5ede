-- The outbox's statements. relay/notify/outbox.py uses them. All times come from the clock of the Postgres server, because
-- the clocks of the machines differ.

-- name: claim
-- Claims news that is due. News waits while earlier news of the same call and channel waits. News of callers who want to be
-- called back is sent first. Held news (mails of the kinds in `held`) waits for the digest. Other news does not wait for
-- held news. If `only_news` is not null, only the news with these ids and channels is claimed.
with due as (
    select news, channel from outbox as o
    where state = 'waiting' and next_at <= clock_timestamp() and channel = any(%(channels)s)
        and not (channel = 'email' and kind = any(%(held)s))
        and (%(only_news)s::text[] is null
            or (news, channel) in (select * from unnest(%(only_news)s::text[], %(only_channels)s::text[])))
        and (leased_until is null or leased_until < clock_timestamp())
        and not exists (
            select from outbox as e
            where e.call_sid = o.call_sid and e.channel = o.channel and e.number < o.number and e.state = 'waiting'
                and not (e.channel = 'email' and e.kind = any(%(held)s))
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

-- name: gather
-- Makes the digest of all held news from before the digest's time. This news then counts as sent.
-- If the digest exists already, it is not changed, and held news waits for the next digest.
with members as (
    select news, number from outbox
    where state = 'waiting' and channel = 'email' and kind = any(%(held)s) and created_at < %(before)s
        and (leased_until is null or leased_until < clock_timestamp())
    for update skip locked
), made as (
    insert into outbox (news, channel, kind, body, created_at)
    select %(news)s, 'email', 'digest', jsonb_build_object('news', jsonb_agg(news order by number)), %(before)s
    from members having count(*) > 0
    on conflict (news, channel) do nothing
    returning news
)
update outbox set state = 'sent', words = 'in ' || made.news, sent_at = clock_timestamp()
from made where channel = 'email' and outbox.news in (select news from members)

-- name: members
-- The news in a digest.
select o.news, o.channel, o.kind, o.body, o.created_at, o.call_sid, (
    select count(*)::integer from outbox as b
    where b.channel = o.channel and b.kind = 'booking' and b.body ->> 'booking' = o.body ->> 'booking'
        and b.number < o.number
) as sequence
from outbox as o where o.channel = %(channel)s and o.news = any(%(news)s) order by o.number

-- name: next_in
-- The seconds until the next news is due or a lease ends. Null if no news waits.
select min(
    case when channel = 'email' and kind = any(%(held)s) then %(digest_in_s)s
    else extract(epoch from greatest(next_at, coalesce(leased_until, next_at)) - clock_timestamp())::float8 end
)
from outbox where state = 'waiting' and channel = any(%(channels)s)
    and (%(only_news)s::text[] is null
        or (news, channel) in (select * from unnest(%(only_news)s::text[], %(only_channels)s::text[])))

-- name: counts
select state, count(*)::integer from outbox group by state

-- name: list
select news, channel, kind, call_sid, state, tries, next_at, words, created_at from outbox
where state <> 'sent' order by number limit 200

-- name: again
update outbox set state = 'waiting', tries = 0, next_at = clock_timestamp() where state = 'dead'
    and (%(news)s::text is null or (news, channel) = (%(news)s, %(channel)s))
    and (%(channels)s::text[] is null or channel = any(%(channels)s::text[]))
returning news, channel

-- name: dead
-- The dead letters for the console, newest first.
select news, channel, kind, body, created_at, call_sid, tries, words from outbox
where state = 'dead' order by number desc limit 100
