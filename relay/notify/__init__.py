"""Tells the owner news: with an outbox in Postgres, mails, signed webhooks and alarms.

news        what the owner is told, made from a call's rows                                  (pure)
outbox      the rows, with a lease, so that two machines never send the same row at the same time
delivery    sends what waits, in order for each call, with growing pauses (backoff.py)
digest      one mail a day for news that can wait, if NOTIFY_DIGEST is set                   (pure)
letter      news as text; invitation.py: the part for the calendar; mail.py, smtp.py: to the mail server
webhook     JSON to NOTIFY_WEBHOOK_URL, signed (signing.py)
alarms      what is wrong with the relay, at most one alarm of each kind in each hour
service     what a process runs; commands.py: `relay outbox`, `relay notify --test`
"""
