"""Finds every mistake of the settings, the business file, the prompts and the functions, for `relay check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from relay import functions, settings
from relay.business import owner_files
from relay.settings import Settings, SettingsInvalid


def mistakes(load: Callable[[], Settings], environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Returns all mistakes as texts, and sentences about what was found.

    `load` reads the settings of `relay serve`.
    """
    wrong: list[str] = []
    told: list[str] = []
    try:
        loaded = load()
    except SettingsInvalid as error:
        wrong.append(str(error))
        loaded = settings.load_what_is_right(environ)
    try:
        found = owner_files.read(loaded)
    except owner_files.FilesInvalid as error:
        wrong.append(str(error))
    else:
        if found.business is not None:
            told += [*found.conflicts, f"{loaded.business_file} describes {found.business.name}"]
        if early := found.prompts.too_early:
            told.append(
                f"prompts/system.md names {' and '.join(early)} in its first half. OpenAI's cache cannot be used for"
                " what follows: move these lines to the end (docs/prompt.md)"
            )
    try:
        found_functions = functions.load(loaded.functions or None)
    except functions.FunctionRefused as error:
        wrong.append(str(error))
    else:
        own = sorted(each.name for each in found_functions if not each.module.startswith("relay."))
        if own:
            told.append(f"functions of yours: {', '.join(own)}")
    return wrong, told
