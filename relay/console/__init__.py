"""The owner's pages: they show the calls and play their recordings. The relay renders the HTML, outside the audio path.

console     the routes: each reads rows, and fills a page
live_pages  the routes of the page Live: running calls, and orders to them
live        what is sent to the page Live, and the page's texts
guard       who may see the pages: login, session, origin, headers
password    the hash of the one password                                   (blocking)
reads       what the pages read from Postgres, and the few rows they write  (blocking)
search      a search for calls: from a URL's query to SQL                  (pure)
wording     reasons, numbers, times and money in the owner's words         (pure)
story       one call as lines in the order of time                         (pure)
talk        the page "Talk to it": a call from this browser
health      whether each part works, and if not, what to do
sound       a call's recording as a WAV, by range
"""
