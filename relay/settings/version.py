"""The version. `relay --version`, the wheel and the log show it. CONTRIBUTING.md says how to release."""

VERSION = "0.1.0"
