"""The owner is told: an outbox in Postgres, mail and signed webhooks, alarms.

news        what is told, made from a call's rows                                            (pure)
outbox      the rows, with a lease, so that two machines never send one at once
delivery    sends what waits, in order per call, with growing pauses (backoff.py)
digest      the day's letter, by choice                                                    (pure)
letter      a mail in words; invitation.py: its calendar part; mail.py, smtp.py: to the server
webhook     JSON to NOTIFY_WEBHOOK_URL, signed (signing.py)
alarms      what is wrong with the relay, at most once an hour of a kind
service     what a process runs; commands.py: `relay outbox`, `relay notify --test`
"""
