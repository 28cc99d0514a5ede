"""Finds out that the caller does not want their words stored. From then on none are stored, and the agent says so."""

from __future__ import annotations

import re
from typing import Final

from relay.call import wording
from relay.call.actions import Action, StopKeepingWords
from relay.call.interruption import cut_off
from relay.call.state import Call, Phase

_EN_KEEP = r"(?:record(?:ed|ing)?|tap(?:e|ed|ing)|transcrib(?:e|ed|ing)|writ(?:e|ten|ing) (?:\w+ ){0,3}?down|on tape)"
_EN_IT = (
    r"(?:this|that call|the call|our|my (?:call|voice|words)|me|us|it|any|what i|the conversation|everything|anything)"
)
_EN_CALL = (
    r"(?:this|it all|all this|everything i say)(?= ?(?:$|[.,!?])| please| (?:call|conversation|chat)\b)|"
    r"(?:this|the|our|my|that) (?:call|conversation|chat|voice|words|audio)\b|"
    r"what i(?:'m| am|'ve| have)? (?:just )?(?:say|said)|(?:a|any) recordings?\b"
)
# Patterns of a refusal, by language, for text in small letters with straight apostrophes.
REFUSALS: Final = {
    "en": (
        rf"(?:(?:do not|don't|dont)(?! (?:you|they|we|i)\b)|never|please not|"
        rf"(?:can|could|would|will) you (?:please )?not) "
        rf"(?:please )?(?:ever )?(?:{_EN_KEEP}|keep (?:a )?(?:recording|transcript)s?(?: of)?)(?: {_EN_IT}\b|[.,!?]|$)",
        r"\b(?:do not|don't|dont|would not|wouldn't|not|never|rather not|prefer not|didn't|did not)"
        r" (?:\w+ )?(?:(?:want|wish|like|comfortable|okay|ok|be|to be)(?: (?!hear|miss|listen|lose)[\w']+){0,6}?"
        r"(?<! the)(?<! a)(?<! your)|(?:consent|agree|allow|permit|authori[sz]e|approve|give|have my)(?: [\w']+){0,6}?)"
        rf" {_EN_KEEP}",
        r"\bnot (?:be )?(?:recording|taping|transcribing) (?:this|me|us|the call|my)",
        rf"\b(?:rather|prefer)(?: [\w']+){{0,4}}? not(?: [\w']+){{0,4}}? {_EN_KEEP}",
        r"(?<!don't )(?<!do not )(?<!not )\b(?:stop|quit|turn off|switch off|shut off|disable|pause|cut) "
        r"(?:[\w']+ ){0,3}?(?:record(?:ing|er)\b|taping|transcri\w+)",
        r"\b(?:turn|switch|shut) (?:the |this |that |your |it )?(?:recording|recorder|transcri\w+|tape) off\b",
        r"\b(?:without (?:being |you |it being |the )?(?:record|tap(?:ed|ing)|transcri)\w*|"
        r"no (?:recording|taping|transcri\w+)(?: please| of (?:this|the call|me)|[.,!]|$)|"
        r"off the record\b(?! (?:player|store|label)))",
        rf"\bi (?:refuse|object|decline|opt out)(?: [\w']+){{0,4}}? {_EN_KEEP}",
        # Sentences that forbid to save, keep or note the words.
        r"(?:do not|don't|dont|never|not to|won't let you) (?:please )?(?:save|store|log|retain|archive|keep)"
        rf" (?:any of |a (?:record|log|copy) of )?(?:{_EN_CALL})",
        rf"(?:don't|do not|not) want (?:you to )?(?:save|store|log|retain|archive|keep) (?:any of |a (?:record|"
        rf"log|copy) of )?(?:{_EN_CALL})",
        rf"(?:don't|do not|not) want (?:any of )?(?:{_EN_CALL})(?: to be)? (?:saved|stored|logged|retained|"
        rf"archived|kept)",
        r"(?:don't|do not|stop) (?:please )?(?:take|taking|make|making) (?:any )?notes(?: (?:on|of|"
        r"about) (?:this|me|what|our|the call)|[.,!]|$)",
        r"(?:don't|do not|not) want (?:a|any|the) (?:transcript|recording|transcription)s?(?: of (?:this|me|my|"
        r"what|our|the call)|[.,!]|$)",
        # Sentences that deny the permission.
        rf"\byou (?:do not|don't|haven't|have not) (?:have |got )?(?:my |any |the |a )?(?:permission|consent|"
        rf"right|authori[sz]ation)"
        rf"(?: [\w']+){{0,3}}? {_EN_KEEP}",
        rf"\b(?:you|they) (?:may not|can't|cannot|can not|must not|mustn't|shouldn't|should not|(?:are|"
        rf"'re) not (?:allowed|permitted|authori[sz]ed) to|aren't (?:allowed|"
        rf"permitted) to) {_EN_KEEP}(?: {_EN_IT}\b|[.,!]|$)",
        rf"\b(?:nobody|no one) (?:is|may|can|should)(?: \w+){{0,3}}? {_EN_KEEP} {_EN_IT}\b",
        rf"\brather(?: [\w']+){{0,3}}? (?:didn't|did not|don't|do not) (?:\w+ )?{_EN_KEEP}",
        r"\b(?:never|didn't|did not|don't|do not|haven't|not) (?:agreed?|consent(?:ed)?|approved?) (?:to|"
        r"with) (?:\w+ )?record",
        r"\brecord(?:ed|ing)\b[^.?!]{0,20}[.?!,] (?:because |well,? |if so,? |then |"
        r"and )?i (?:really )?(?:don't|do not) (?:want|like|consent|agree)(?: to| with)? (?:that|it|this)\b",
        r"\brecording off\b|\b(?:kill|end|halt|cease) (?:the|this|that|your|any) recording|\b(?:turn|switch|"
        r"shut) off (?:the|that|your) tape\b",
        rf"\b(?:feel better|prefer|like it|appreciate it|happier) if (?:\w+ ){{1,3}}?"
        rf"(?:wasn't|weren't|was not|were not|isn't|is not|didn't|did not) (?:\w+ )?{_EN_KEEP}",
        r"\b(?:don't|do not|not|never) (?:have|put|get) (?:this|me|us|it|any of (?:this|it)) on (?:tape|record|file)\b",
        rf"\b(?:refrain from|forbid (?:you to|any)|(?:withdraw|revoke) my (?:consent|permission|"
        rf"agreement)(?: \w+)?) {_EN_KEEP}",
        r"\brecord(?:ed|ing)\b[^.?!]{0,20}[.?!,] (?:\w+,? )?(?:i'm|i am) not (?:okay|ok|fine|comfortable|"
        r"happy) with (?:that|it|this)\b",
        r"\bopt(?:ing)? out of (?:the |being |this )?(?:record|transcri)",
        r"\b(?:delete|erase) (?:this|the|my) (?:recording|transcript)",
    ),
    "es": (
        r"\bno (?:me |nos |lo |la |esto )?(?:grab(?:e|es|en|ar)|transcrib\w+)\b",
        r"\bno (?:quiero|deseo|autorizo|permito|acepto|consiento)(?: \w+){0,5}? (?:grab|transcri)\w+",
        r"\b(?:deje|deja|dejen|pare|para|paren)(?: de)? (?:grabar|transcribir|la grabaci[oó]n)",
        r"\b(?:me niego|me opongo|no estoy de acuerdo|no doy (?:mi )?(?:permiso|consentimiento))(?: \w+){0,5}? graba",
        r"\bsin (?:grabar|grabaci[oó]n|que \w+ grab\w+)|\b(?:apague|apaga|quite|detenga) la grabaci[oó]n",
    ),
    "fr": (
        r"\bn(?:e |')(?:m'|nous |l'|le |la )?enregistre[zr]? pas\b|\bne pas (?:m'|être |l')?enregistr",
        r"\bje ne (?:veux|souhaite|désire|consens|accepte) pas(?: [\w']+){0,5}? (?:\w')?enregistr",
        r"\b(?:arrêtez|arrête|coupez|stoppez)(?: d'enregistrer| l'enregistrement| de m'enregistrer)|\bsans enregistre",
        r"\b(?:refuse|m'oppose|pas d'accord)(?: [\w']+){0,4}? (?:\w')?enregistr",
    ),
    "de": (
        r"\bnicht (?:\w+ ){0,2}?(?:auf(?:nehmen|zeichnen|gezeichnet|genommen)|mit(?:schneiden|geschnitten|schreiben))",
        r"\b(?:nehmen|zeichnen|schneiden|schreiben) sie (?:\w+ ){0,4}?nicht (?:auf|mit)\b",
        r"\bnicht,? dass? (?:\w+ ){1,5}?(?:aufgezeichnet|aufgenommen|mitgeschnitten|gespeichert)",
        r"\b(?:widerspreche|nicht einverstanden|verbiete)(?:,? \w+){0,5}? (?:auf(?:nahme|zeichn|gezeichnet|"
        r"genommen)|mitschnitt)",
        r"\b(?:keine|ohne) (?:aufnahme|aufzeichnung|mitschnitt)",
        r"\b(?:aufnahme|aufzeichnung) (?:\w+ )?(?:aus|stoppen|beenden|abschalten)",
        r"\bhören sie auf(?: \w+){0,3}? (?:aufzunehmen|aufzuzeichnen|mitzuschneiden)",
    ),
    "pt": (
        r"\bn[aã]o (?:me |nos |quero que \w+ |quero ser |autorizo \w+ )?grav\w+",
        r"\b(?:pare|para|parem) de gravar|\bsem grav",
        r"\b(?:me recuso|não (?:aceito|concordo|permito|autorizo|consinto|quero))(?: \w+){0,5}? grava",
    ),
    "it": (
        r"\bnon (?:mi |ci |lo |la |voglio essere |voglio che (?:\w+ )?)?registr\w+",
        r"\b(?:smetta|smetti|smettete) di registrare|\bsenza (?:essere )?registra",
        r"\b(?:rifiuto|mi oppongo|non (?:acconsento|autorizzo|accetto|permetto|sono d'accordo|"
        r"voglio))(?: [\w']+){0,5}? (?:\w')?registra",
    ),
    "nl": (
        r"\bniet (?:\w+ ){0,2}?op(?:nemen|genomen|neemt)\b|\bneem(?:t)? (?:\w+ ){0,4}?niet op\b|\bgeen opname|"
        r"\bstop(?:t)? (?:\w+ ){0,2}?(?:opname|opnemen)",
    ),
}
_REFUSALS: Final = tuple(re.compile(pattern) for patterns in REFUSALS.values() for pattern in patterns)
# Sentences that look like these patterns but are no refusal.
_NO_REFUSAL: Final = re.compile(
    r"\b(?:don't|do not|wouldn't) (?:mind|care)|\bnot? (?:a )?problem|\bwhy (?:don't|do you not)|"
    r"\bdon't (?:you|they|i|we) (?:record|have)|\b(?:have|has|there's|there is|got) no record|\bif (?:you|i) don't|"
    r"\brecord(?:ing)? (?:a|an|another|my|our) (?:\w+ )?(?:album|song|podcast|video|demo|track|show)\b"
)


def refuses(text: str) -> bool:
    """True if the caller says in this text that their words must not be stored."""
    plain = " ".join(text.replace("\u2019", "'").casefold().split())
    if _NO_REFUSAL.search(plain):
        return False
    return any(pattern.search(plain) for pattern in _REFUSALS)


def heed(call: Call, text: str, now: float, out: list[Action]) -> bool:
    """Stop storing words if the caller refuses with these words. Returns True if this is the first refusal.

    Must be called before these words are stored, because the refusal itself must not be stored either.
    """
    if call.consent.refused or not refuses(text):
        return False
    out += call.consent.refuse()
    out.append(StopKeepingWords(call.ms(now)))
    return True


def confirm(call: Call, now: float, out: list[Action]) -> None:
    """Let the agent confirm the refusal. If the agent is already answering, that answer is given up."""
    if call.phase is not Phase.TALKING or not call.sessions.serves:
        return
    cut_off(call, now, out)
    out.append(call.note(wording.NOT_KEPT))
    call.answers.want("consent", wording.CONFIRM_NOT_KEPT)
