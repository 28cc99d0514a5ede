"""The owner's pages: what happened on the phone, to see and to hear. The server renders them, off the audio path.

console     the routes: each asks for its rows, and fills a page
live_pages  the routes of the page Live: running calls, and the owner's orders to them
live        what its watchers are sent, and the texts for it
guard       who may see them: login, session, origin, headers
password    the hash of the one password                                   (blocking)
reads       what the pages ask of Postgres, and the few rows that they write (blocking)
search      a search for calls, from the address line to SQL               (pure)
wording     reasons, numbers, times and money in the owner's words         (pure)
story       one call as lines in the order of time                         (pure)
talk        the page "Talk to it": a call from this browser
health      whether everything is well, and if not, what to do
sound       a call's recording as a WAV, by range
"""
