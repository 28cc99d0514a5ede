"""The embedded backend, for a business that has no server of its own: one file and a diary.

rules       what a business is: hours, special days, services, people, places, answers          (pure)
file        business.toml, read and checked; every mistake with its line  (hours_text, toml_lines: pure)
opening     when the business or a person is there, also when the clocks change                 (pure)
offers      which times are free, which are offered, who or what is booked                      (pure)
bookings    the receptionist: what may be booked, moved, cancelled, and why not                 (pure)
diary       the port of the appointments, and one in memory      diary_postgres  the real one
told        what the agent knows from the start, within a budget of tokens                      (pure)
embedded    the `Backend` port over these                        identity  which wins: file or environment
owner       `relay diary`
"""
