"""The embedded backend, for a business that has no server of its own: one file and a diary.

rules       the facts of a business: hours, special days, services, people, places, answers (pure)
file        reads and checks business.toml; names each mistake with its line  (hours_text, toml_lines: pure)
opening     the times when the business or a person is there, even when the clocks change       (pure)
offers      which times are free, which are offered, who or what is booked                      (pure)
bookings    books, moves and cancels, or says why it cannot                                     (pure)
diary       the port of the appointments, and a diary in memory; diary_postgres is the diary in Postgres
told        what the agent knows from the start, within a budget of tokens                      (pure)
embedded    implements the backend's port with these files
identity    which name, zone and country count: the environment's or the file's      (pure)
owner       the command `relay diary`
"""
