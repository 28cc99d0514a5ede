"""The version: `relay --version`, the wheel and the log say it. CONTRIBUTING.md tells how to release."""

VERSION = "0.1.0"
