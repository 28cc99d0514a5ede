"""Whether a call's words may be kept, and what a caller says who does not want it."""

from __future__ import annotations

import pytest

from relay.call.consent import Consent, Words, refuses

REFUSE = [
    "Please don't record this.",
    "Don't record me.",
    "I don't want to be recorded.",
    "I do not want this call recorded.",
    "I don't want you to record this call.",
    "Could you please not record this?",
    "Can you stop recording?",
    "Stop recording please.",
    "Please turn off the recording.",
    "Can you turn the recording off?",
    "I'd rather not be recorded.",
    "I would prefer not to be recorded.",
    "I do not consent to being recorded.",
    "I don't consent to recording.",
    "I don't agree to be recorded.",
    "You don't have my permission to record this.",
    "I'm not comfortable being recorded.",
    "I am not okay with being recorded.",
    "No recording, please.",
    "Can we talk without being recorded?",
    "Can we do this off the record?",
    "I refuse to be recorded.",
    "I object to this being recorded.",
    "Please do not write this down.",
    "Don't write any of this down.",
    "Please don't transcribe this call.",
    "I don't want a transcript of this, don't transcribe it.",
    "Hey, don't tape this.",
    "I don't give you permission to record me",
    "I did not agree to be recorded",
    "I want to opt out of recording",
    "Please delete this recording.",
    "Do not record.",
    "don't record, okay?",
    "Por favor no grabe esta llamada.",
    "No quiero que me graben.",
    "No me grabe.",
    "Deje de grabar.",
    "N'enregistrez pas cet appel.",
    "Je ne veux pas être enregistré.",
    "Bitte nehmen Sie das nicht auf.",
    "Ich möchte nicht aufgezeichnet werden.",
    "Keine Aufnahme bitte.",
    "Não grave esta ligação.",
    "Non registri questa chiamata.",
    "Ik wil niet opgenomen worden.",
    "I don't want my voice recorded.",
    "Would you mind not recording this?",
    "Quit recording this call.",
    "I'd like this not to be recorded",
]
DO_NOT = [
    "Is this call being recorded?",
    "Are you recording this?",
    "Why are you recording?",
    "I don't mind being recorded.",
    "That's fine, you can record it.",
    "I have no record of that appointment.",
    "I don't have a record of my visit.",
    "Don't you record your calls?",
    "Can you record my order?",
    "Please write that down.",
    "Could you record a message for Marco?",
    "I didn't get the recording.",
    "My last visit was recorded wrong.",
    "I don't want to hear the recording again.",
    "I bought a record player.",
    "Do you sell records?",
    "Don't cancel my appointment.",
    "I don't want to be late.",
    "I don't want to be called back.",
    "Please don't call me again.",
    "Do you keep records?",
    "I would like to book a table for two.",
    "Don't forget to write it down.",
    "No, it's not on the record.",
    "For the record, I never said that.",
    "I do not care if you record it.",
    "Stop sending me texts.",
    "Can you turn off the music?",
    "I don't like the music on the recording",
    "There's no recording studio here?",
    "If you don't record it I will forget.",
]


@pytest.mark.parametrize("text", REFUSE)
def test_a_caller_who_does_not_want_to_be_recorded_is_understood(text: str) -> None:
    assert refuses(text)
    assert refuses(text.upper().replace("'", "\u2019"))


@pytest.mark.parametrize("text", DO_NOT)
def test_who_asks_about_recording_or_means_something_else_refuses_nothing(text: str) -> None:
    assert not refuses(text)


@pytest.mark.parametrize(
    ("consent", "words"),
    [
        (Consent(), Words.KEPT),
        (Consent(announces=True), Words.WAITING),
        (Consent(announces=True, heard=True), Words.KEPT),
        (Consent(keeps=False), Words.NEVER),
        (Consent(keeps=False, announces=True, heard=True), Words.NEVER),
        (Consent(refused=True), Words.NEVER),
        (Consent(announces=True, refused=True), Words.NEVER),
        (Consent(announces=True, heard=True, refused=True), Words.NEVER),
    ],
)
def test_words_are_kept_after_the_notice_and_never_against_a_will(consent: Consent, words: Words) -> None:
    assert consent.words is words
    assert consent.may_keep is (words is Words.KEPT)
