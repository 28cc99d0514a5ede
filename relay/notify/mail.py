"""Makes a mail of news: plain text, simple HTML, and the invitation of a booking (pure).

A caller could use control characters to add headers to a mail. So a text gets into a header only through `_line`, which
makes one line without control characters.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from datetime import tzinfo
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from relay.notify.invitation import invitation, method_of
from relay.notify.letter import Item, Letter, letter

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
SUBJECT_CHARS = 150
_QUOTE = "margin:0 0 1em;padding-left:1em;border-left:3px solid #ccc"


def _line(text: str, limit: int = SUBJECT_CHARS) -> str:
    plain = " ".join(_CONTROL.sub(" ", text).split())
    return plain if len(plain) <= limit else plain[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def compose(
    item: Item, *, sender: str, reader: str, business: str, public_url: str, host: str, tz: tzinfo
) -> EmailMessage:
    """The mail to one reader.

    The same news always has the same Message-ID. So if news is sent twice, most mail programs show one mail.
    """
    told = letter(item, public_url)
    parts = [letter(one, public_url) for one in item.members]
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(_line(business, 60), addr_spec=parseaddr(sender)[1])
    message["To"] = Address(addr_spec=parseaddr(reader)[1])
    message["Subject"] = _line(told.subject)
    message["Date"] = format_datetime(item.created_at)
    message["Message-ID"] = f"<{re.sub(r'[^A-Za-z0-9.]', '', item.news)}@{host}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(_text(one) for one in (told, *parts)))
    message.add_alternative(_html([told, *parts]), subtype="html")
    for one in _newest(item.members or (item,)):
        if (method := method_of(one)) is None:
            continue
        calendar = invitation(one, sender=parseaddr(sender)[1], reader=parseaddr(reader)[1], host=host, tz=tz)
        # In a digest, each booking has its own file, so that the reader can choose which booking to add to a calendar.
        if item.members:
            name = f"{_line(str(one.body['booking']), 40)}.ics"
            params = {"method": method}
            message.add_attachment(calendar.decode(), subtype="calendar", filename=name, params=params)
        else:
            message.add_alternative(calendar.decode(), subtype="calendar", params={"method": method})
    return message


def _newest(items: Iterable[Item]) -> list[Item]:
    """The news without older news about the same booking, which is out of date. Only a digest has older news."""
    return list({str(one.body.get("booking") or one.news): one for one in items}.values())


def _text(told: Letter) -> str:
    lines = [told.do, ""]
    if told.words:
        lines += [f"  {told.words}", ""]
    lines += [f"{name}: {value}" for name, value in told.facts]
    if told.link:
        lines += ["", f"The call: {told.link}"]
    return "\n".join(lines).rstrip() + "\n"


def _html(letters: Sequence[Letter]) -> str:
    e = html.escape
    parts = []
    for told in letters:
        parts.append(f"<p><strong>{e(told.do)}</strong></p>")
        if told.words:
            parts.append(f'<blockquote style="{_QUOTE}">{e(told.words)}</blockquote>')
        if told.facts:
            cell = '<tr><td style="padding-right:1em">{}</td><td>{}</td></tr>'
            parts.append(f"<table>{''.join(cell.format(e(name), e(value)) for name, value in told.facts)}</table>")
        if told.link:
            parts.append(f'<p><a href="{e(told.link)}">The call</a></p>')
    return f'<!doctype html><html><body style="font-family:sans-serif">{"".join(parts)}</body></html>\n'
