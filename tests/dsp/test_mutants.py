"""The list of mutants fits the source. `python -m tests.helpers.mutants` runs the mutants."""

import importlib

import pytest

from tests.helpers.mutants import MUTANTS, ROOT, Mutant, mutated


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_finds_its_line_and_its_test(mutant: Mutant) -> None:
    source = (ROOT / "dsp" / mutant.file).read_text()
    assert mutated(mutant, source) != source
    module, test = mutant.caught_by.split("::")
    assert hasattr(importlib.import_module(f"tests.dsp.{module}"), test)
