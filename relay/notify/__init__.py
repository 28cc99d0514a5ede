"""Sends news to the owner, by mail and by signed webhooks. News is a message, a booking, a fault, an alarm and so on.

news        makes news from the rows of calls                                                    (pure)
alarms      makes alarms from log lines, at most one alarm of each kind in each hour
outbox      claims rows of news with a lease, so that two machines never send the same row at the same time
delivery    sends the news that waits, in order for each call; backoff.py has the pauses between tries
digest      decides when the digest is due: one mail a day for news that can wait                (pure)
letter      writes news as text; invitation.py makes the part for the calendar
mail        makes a mail; smtp.py gives it to the mail server
webhook     sends JSON to NOTIFY_WEBHOOK_URL; signing.py signs it
service     makes all these objects for a process; commands.py does `relay outbox` and `relay notify --test`
"""
