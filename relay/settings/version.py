"""The version of the relay. `relay --version` and the wheel use it.

CONTRIBUTING.md says how to make a release.
"""

VERSION = "0.1.0"
