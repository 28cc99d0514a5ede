"""Makes callers' numbers for rehearsals. The numbers are valid, and belong to nobody. Pure.

555-0100 to 555-0199 are reserved for fiction in every area code of the United States. 212 is left out, because the
relay's number and the humans' numbers are +1 212 555 0100 to 0199.
"""

from __future__ import annotations

# Area codes in use (North American Numbering Plan, 2026), except in states where all parties must agree to a recording.
_AREA_CODES = (
    "201 202 205 207 208 210 214 216 218 219 225 228 229 231 234 248 251 252 254 256 260 262 269 270 276 281 303 304 "
    "307 308 313 314 315 316 317 318 319 320 325 330 334 336 337 346 347 361 380 385 401 402 404 405 409 414 417 419 "
    "423 430 432 434 435 440 469 470 478 479 480 501 502 504 505 507 512 513 515 516 517 518 520 531 534 539 540 551"
).split()
_FIRST, _IN_EACH = 5_550_100, 100


def fictional_number(which: int) -> str:
    """The fictional number with this index. There are 8,400 numbers. After the last one the first one comes again."""
    area, line = divmod(which, _IN_EACH)
    return f"+1{_AREA_CODES[area % len(_AREA_CODES)]}{_FIRST + line}"
