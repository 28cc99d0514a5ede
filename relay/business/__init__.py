"""Is the embedded backend: a business file and a diary, for a business that has no server of its own.

rules       the facts of a business: hours, special days, services, people, places, answers (pure)
file        reads and checks business.toml; names each mistake with its line  (hours_text, toml_lines: pure)
opening     the times when the business or a person is there, even when the clocks change       (pure)
offers      which times are free, which are offered, who or what is booked                      (pure)
bookings    books, moves and cancels, or says why it cannot                                     (pure)
diary       the port of the appointments, and a diary in memory; diary_postgres is the diary in Postgres
told        writes the facts of the business for the prompt, within a budget of tokens          (pure)
embedded    implements the backend's port with these files
identity    decides whether the environment's or the file's name, zone and country are used     (pure)
owner_files reads the prompts and the business file together, and names all mistakes in them
owner       the command `relay diary`
"""
