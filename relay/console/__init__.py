"""Serves the owner's pages, which show calls and play recordings. No audio of a running phone call goes through them.

console     has the routes: most read rows, and fill a page
live_pages  has the routes of the page Live: running calls, and orders to them
live        makes what is sent to the page Live, and has the page's texts
guard       decides who may see the pages: login, session, origin, headers
password    makes and checks the hash of the one password                     (blocking)
reads       reads from Postgres, and writes the few rows of the pages         (in a thread)
search      turns a URL's query into a search for calls, and that into SQL    (pure)
wording     says reasons, numbers, times and money in the owner's words       (pure)
story       makes lines of one call, in the order of time                     (pure)
talk        has the page "Talk to it": a call from this browser
health      asks each part whether it works, and if not, what to do
sound       makes a WAV file of a call's recording, of which any range can be read
"""
