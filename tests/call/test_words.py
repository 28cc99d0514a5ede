"""The meaning of transcripts: collected sentences, yeses and hums, and words that transcribers make of noises."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from relay.call.escalation import Rules
from relay.call.words import Language, Words, WordsInvalid
from relay.phrases import prompts
from relay.settings import load
from tests.helpers.playbook import PLAN

SHELF = [
    (expected, sentence)
    for file in sorted((Path(__file__).parent / "sentences").glob("*.toml"))
    for expected, sentences in tomllib.loads(file.read_text("utf-8")).items()
    for sentence in sentences
]

# Hums, yeses and noises in many languages. The rules were corrected only after these sets had been written.
REVIEWED: dict[str, list[str]] = tomllib.loads((Path(__file__).parent / "short_words.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def rules() -> Rules:
    return prompts.load(load({}, serving=False)).rules


def heard(rules: Rules, sentence: str) -> str:
    """The meaning that the relay gives to these words."""
    says = rules.words.judge(sentence).says
    return "emergency" if "emergency" in says else "human" if "human" in says else "harmless"


def test_after_all_expressions_were_compiled_at_the_start_no_call_has_to_compile_one() -> None:
    text = (prompts.PROMPTS_DIR / "words" / "en.toml").read_text("utf-8")
    english = Language.from_table("en", tomllib.loads(text))  # a new one, because other tests have used the shipped one
    groups = [english.credits, *english.grammar.values()]
    groups += [patterns for kind in english.kinds.values() for patterns in (kind.says, kind.unless)]
    found = [*filter(None, english.lists.values()), *(each for group in groups for each in group.expressions())]
    assert len(found) > 300
    assert not any("regex" in vars(each) for each in found)
    Words((english,)).compile_all()
    assert all("regex" in vars(each) for each in found)


def test_emergencies_are_recognised_and_harmless_sentences_are_not_taken_for_an_emergency(rules: Rules) -> None:
    wrong = {sentence: (expected, got) for expected, sentence in SHELF if (got := heard(rules, sentence)) != expected}
    emergencies = [sentence for expected, sentence in SHELF if expected == "emergency"]
    harmless = [sentence for expected, sentence in SHELF if expected == "harmless"]
    assert len(SHELF) >= 300
    assert sum(sentence in wrong for sentence in emergencies) <= 0.02 * len(emergencies), wrong
    assert sum(sentence in wrong for sentence in harmless) <= 0.01 * len(harmless), wrong
    assert sum(expected == "human" for expected, _ in wrong.values()) <= 1, wrong


@pytest.mark.parametrize(
    "sentence",
    [
        "Sí, hola.",
        "My name is 911 Smith",
        "",
        "...",
        "não",
        "I was told that there's a fee, is it an emergency fee?",
    ],
)
def test_odd_sentences_lead_neither_to_a_human_nor_to_an_emergency_call(rules: Rules, sentence: str) -> None:
    assert heard(rules, sentence) == "harmless"


@pytest.mark.parametrize(
    ("kind", "said", "harmless"),
    [
        ("angry_words", "This is ridiculous!", "That's ridiculously good."),
        ("angry_words", "I'm so frustrated with you.", "I'm not angry at all."),
        ("angry_words", "I want to make a complaint.", "I have no complaints, thank you."),
        ("misunderstood_words", "Sorry, what?", "Sorry, what time do you open?"),
        ("misunderstood_words", "That's not what I said.", "Is that not what I ordered online?"),
        ("repeat_words", "Sorry, could you repeat that?", "You are a repeat customer, welcome back."),
        ("repeat_words", "I didn't quite catch that.", "You can catch the bus in front of our door."),
    ],
)
def test_the_words_for_all_other_decisions_are_recognised_and_harmless_sentences_are_not(
    rules: Rules, kind: str, said: str, harmless: str
) -> None:
    assert rules.says(kind, said)
    assert not rules.says(kind, harmless)


def test_an_operators_own_words_are_searched_for_in_the_same_way_as_ours() -> None:
    table = {"human_words": ["Bob", "the big boss"], "emergency_words": ["flood"], "topics_hard": ["allergy"]}
    own = Rules.from_table(table)
    english = (prompts.PROMPTS_DIR / "words" / "en.toml").read_text("utf-8")
    own = own.listening_for((Language.from_table("en", tomllib.loads(english), own.numbers, own.clerks),))
    assert own.says("human_words", "Can I talk to Bob?")
    assert own.says("human_words", "Bob, please.")
    assert own.says("human_words", "I want the big boss.")
    assert not own.says("human_words", "Bob told me to call.")
    assert not own.says("human_words", "I don't want to talk to Bob.")
    assert own.says("emergency_words", "Help, there is a flood in here!")
    assert not own.says("emergency_words", "There is no flood.")
    assert own.says("topics_hard", "I have no allergy")


@pytest.mark.parametrize(
    "text",
    [
        "Mm-hmm.",
        "Um-hum.",
        "Uh-huh.",
        "Mhm",
        "Hm.",
        "Uh, huh.",
        "Mmhmm.",
        "Uhm-hmm",
        "Si.",
        "Sí, sí.",
        "Ja.",
        "Ja, genau.",
        "Oui.",
        "D'accord.",
        "Vale.",
        "Okay, okay.",
        "Yeah, yeah.",
        "Yep!",
        "All right.",
        "I see.",
        "Got it.",
        "Claro.",
        "Va bene.",
        "Sim.",
        "Tak.",
        "Да.",
        "はい。",
        "네",
        "嗯",
        "Okey.",
        "Ok",
        "Yup",
        "Right, right.",
        "Aha!",
        "Certo.",
        *REVIEWED["hums"],
    ],
)
def test_hums_and_yeses_in_any_spelling_mean_that_the_agent_goes_on(text: str) -> None:
    assert PLAN.rules.words.judge(text).is_backchannel


@pytest.mark.parametrize(
    "text",
    [
        "No.",
        "Uh-uh.",
        "Stop.",
        "Wait.",
        "Okay, but stop.",
        "Yes, I have a question.",
        "What?",
        "",
        "Nein.",
        "Non.",
        *REVIEWED["nohum"],
    ],
)
def test_words_that_mean_something_are_not_taken_for_a_hum(text: str) -> None:
    assert not PLAN.rules.words.judge(text).is_backchannel


@pytest.mark.parametrize(
    "text",
    [
        ".",
        "...",
        "-",
        "?",
        "♪",
        "♪ ♪ ♪",
        "[Music]",
        "(silence)",
        "[BLANK_AUDIO]",
        "*click*",
        "(door closes)",
        "Thank you for watching!",
        "Thanks for watching.",
        "Thank you so much for watching!",
        "Thank you. Thanks for watching!",
        "Please subscribe.",
        "Don't forget to like and subscribe!",
        "Please subscribe to my channel.",
        "See you in the next video.",
        "I'll see you guys in the next video, bye!",
        "Subtitles by the Amara.org community",
        "Transcription by CastingWords",
        "www.mooji.org",
        "Untertitel der Amara.org-Community",
        "Untertitelung des ZDF, 2020",
        "Vielen Dank fürs Zuschauen!",
        "Untertitel im Auftrag des ZDF für funk, 2017",
        "Sous-titres réalisés par la communauté d'Amara.org",
        "Sous-titrage Société Radio-Canada",
        "Merci d'avoir regardé cette vidéo !",
        "Subtítulos realizados por la comunidad de Amara.org",
        "¡Gracias por ver el video!",
        "Suscríbete al canal.",
        "Sottotitoli creati dalla comunità Amara.org",
        "Grazie per la visione.",
        "Legendas pela comunidade Amara.org",
        "Obrigado por assistir!",
        "Ondertitels ingediend door de Amara.org gemeenschap",
        "Bedankt voor het kijken!",
        "Napisy stworzone przez społeczność Amara.org",
        "Dziękuję za uwagę.",
        "Продолжение следует...",
        "Субтитры сделал DimaTorzok",
        "Редактор субтитров А.Синецкая Корректор А.Егорова",
        "ご視聴ありがとうございました",
        "시청해주셔서 감사합니다.",
        "MBC 뉴스 이덕영입니다.",
        "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
        "字幕by索兰娅",
        "谢谢观看",
        "Tack för att ni tittade.",
        "Altyazı M.K.",
        "ترجمة نانسي قنقر",
        "Titulky vytvořil JohnyX.",
        "Subtitrarea realizată de",
        *REVIEWED["nothing"],
    ],
)
def test_words_that_a_transcriber_makes_of_noise_are_ignored(text: str) -> None:
    assert PLAN.rules.words.judge(text).is_nothing


@pytest.mark.parametrize(
    "text",
    [
        "Thank you.",
        "Thanks, bye.",
        "Yes.",
        "No.",
        "Bye.",
        "You",
        "Okay.",
        "What time do you open?",
        "Vier.",
        "Sí.",
        "7",
        "I am watching my weight, do you have salads?",
        "Can I subscribe to your newsletter?",
        "I saw it in a video.",
        "The music was too loud.",
        "Thank you for your help.",
        "Merci.",
        "네",
        "はい",
        "A table for two (by the window).",
        *REVIEWED["something"],
    ],
)
def test_real_words_of_a_caller_are_not_taken_for_noise(text: str) -> None:
    assert not PLAN.rules.words.judge(text).is_nothing


@pytest.mark.parametrize(
    "text",
    [
        "Bye.",
        "Goodbye!",
        "Thank you, bye.",
        "Okay, thanks.",
        "You too.",
        "No, that's all, thank you.",
        "Have a nice day!",
        "Thanks so much for your help.",
        "See you tomorrow.",
        "Gracias, adiós.",
        "Tschüss!",
        "Merci, au revoir.",
        "Grazie, ciao.",
    ],
)
def test_a_farewell_is_recognised(text: str) -> None:
    assert PLAN.rules.words.judge(text).is_farewell


@pytest.mark.parametrize(
    "text",
    [
        "One more thing.",
        "Wait!",
        "Actually, can I change the time?",
        "Sorry, do you have parking?",
        "Hold on.",
        "Hello?",
        "And what about Friday?",
        "Eine Frage noch.",
        "Otra cosa, por favor.",
    ],
)
def test_words_that_ask_for_something_more_are_not_a_farewell(text: str) -> None:
    assert not PLAN.rules.words.judge(text).is_farewell


@pytest.mark.parametrize(
    ("table", "mistake"),
    [
        ({"emergency": {"says": "fire"}}, "emergency.says must be a list"),
        ({"emergency": {"sayss": ["fire"]}}, "emergency.sayss is not known"),
        ({"emergencies": {}}, "emergencies is not known"),
        ({"emergency": {"says": ["{kin} fell"]}}, "there is no set 'kin'"),
        ({"emergency": 3}, "emergency must be a table"),
    ],
)
def test_the_error_for_a_mistake_in_a_file_of_words_names_it(table: dict[str, object], mistake: str) -> None:
    with pytest.raises(WordsInvalid, match=mistake):
        Language.from_table("en", table)
