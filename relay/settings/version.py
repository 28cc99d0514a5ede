"""The version, for `relay --version`, the wheel and the log. CONTRIBUTING.md says how to release."""

VERSION = "0.1.0"
