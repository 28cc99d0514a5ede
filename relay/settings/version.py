"""The version of the relay. `relay --version`, the wheel and the log use it.

CONTRIBUTING.md says how to make a release.
"""

VERSION = "0.1.0"
