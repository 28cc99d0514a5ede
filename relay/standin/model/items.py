"""The model's conversation: its items in order, their size in tokens, and the cost of a response.

One token is 100 ms of the caller's audio, 50 ms of the model's (docs/protocol/openai.md 5), or four characters of text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from relay.standin.model.errors import NO_MODEL_AUDIO, Refusal, RefusedError, already_shorter, no_such_item

CACHE_STEP = 64  # Cached tokens come in steps of this size (docs/protocol/openai.md 2.2).
CHARACTERS_A_TOKEN = 4


def tokens_of(text: str) -> int:
    """The approximate number of tokens of an English text."""
    return -(-len(text) // CHARACTERS_A_TOKEN)


@dataclass
class Item:
    """One item. `text` is what was really said in it. The transcript in the events may differ."""

    id: str
    type: str  # message | function_call | function_call_output.
    role: str = ""  # user | assistant | system, for messages.
    status: str = "completed"
    text: str = ""
    audio_ms: int = 0  # The length of the item's audio.
    audio: bytes = b""  # For conversation.item.retrieve: output format (model) or PCM16 (caller).
    truncated: bool = False  # True if the item was truncated. It then has no transcript.
    content: list[dict[str, Any]] = field(default_factory=list)  # The content, in the form of the events.
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str = ""

    def wire(self, with_audio: str = "") -> dict[str, Any]:
        """The item in the form of the events.

        The real server's items have no key `object` (docs/protocol/openai.md 2.2).
        """
        if self.type == "function_call_output":
            return {"id": self.id, "type": self.type, "call_id": self.call_id, "output": self.output}
        head = {"id": self.id, "type": self.type, "status": self.status}
        if self.type == "function_call":
            return {**head, "call_id": self.call_id, "name": self.name, "arguments": self.arguments}
        content = [dict(part) for part in self.content]
        if with_audio and content:
            content[0]["audio"] = with_audio
        return {**head, "role": self.role, "content": content}

    def tokens(self) -> tuple[int, int]:
        """The text tokens and audio tokens of this item when it is input."""
        audio = self.audio_ms // (100 if self.role == "user" else 50)
        text = self.arguments + self.output if self.type != "message" else "" if self.audio_ms else self.text
        return tokens_of(text), audio


class History:
    """The default conversation."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._known: set[int] = set()  # Hashes of the beginnings of earlier inputs, which are cached.

    def find(self, item_id: str) -> Item | None:
        """The item with this id."""
        return next((item for item in self.items if item.id == item_id), None)

    def require(self, item_id: str, verb: str) -> Item:
        """The item with this id. If there is none, raises RefusedError, whose text names the action `verb`."""
        item = self.find(item_id)
        if item is None:
            raise RefusedError(no_such_item(verb, item_id))
        return item

    def add(self, item: Item, previous: str | None = None) -> str | None:
        """Add an item after the item with the id `previous`. "root" means at the beginning, None means at the end.

        Returns the id of the item before it.
        """
        if self.find(item.id):
            message = f"Error adding item: an item with id '{item.id}' already exists."
            raise RefusedError(Refusal(message, "item_create_duplicate_item_id", "item.id"))
        at = 0 if previous == "root" else len(self.items)
        if previous not in (None, "root"):
            before = self.find(previous or "")
            if before is None:
                message = f"Error adding item: previous item with id '{previous}' not found."
                raise RefusedError(Refusal(message, "item_create_invalid_previous_item_id", "previous_item_id"))
            at = self.items.index(before) + 1
        self.items.insert(at, item)
        return self.items[at - 1].id if at else None

    def before(self, item: Item) -> str | None:
        """The id of the item before this one."""
        at = self.items.index(item)
        return self.items[at - 1].id if at else None

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Forget the part of an item's audio and text that is after `audio_end_ms`. The item has no transcript then.

        Raises RefusedError as the real model does (docs/protocol/openai.md 2.1).
        """
        item = self.require(item_id, "truncate")
        if item.role != "assistant" or item.type != "message" or not item.audio_ms or content_index != 0:
            raise RefusedError(NO_MODEL_AUDIO)
        if audio_end_ms > item.audio_ms:
            raise RefusedError(already_shorter(item.audio_ms, audio_end_ms))
        spoken = item.text[: len(item.text) * audio_end_ms // item.audio_ms]
        item.audio = item.audio[: len(item.audio) * audio_end_ms // item.audio_ms]
        item.text, item.audio_ms, item.truncated = spoken, audio_end_ms, True
        item.content = [{"type": "output_audio", "transcript": None}]

    @property
    def has_voice(self) -> bool:
        """True if the conversation has audio of the assistant. The voice cannot change after that."""
        return any(each.role == "assistant" and each.audio_ms for each in self.items)

    def input_tokens(self, instructions_and_tools: str, items: list[Item]) -> dict[str, Any]:
        """The input tokens of a response to these items, in the form of `usage`.

        The input is cached as far as it is equal to the beginning of an earlier input. So nothing is cached after
        changed instructions or tools, or after an item that was truncated or deleted.
        """
        text = audio = cached_text = cached_audio = beginning = 0
        parts = [(instructions_and_tools, tokens_of(instructions_and_tools), 0)]
        for part in parts + [(item.id, *item.tokens()) for item in items]:
            beginning = hash((beginning, part))
            text, audio = text + part[1], audio + part[2]
            if beginning in self._known:
                cached_text, cached_audio = text, audio
            self._known.add(beginning)
        cached_text, cached_audio = (tokens // CACHE_STEP * CACHE_STEP for tokens in (cached_text, cached_audio))
        return {
            "text_tokens": text,
            "audio_tokens": audio,
            "image_tokens": 0,
            "cached_tokens": cached_text + cached_audio,
            "cached_tokens_details": {"text_tokens": cached_text, "audio_tokens": cached_audio, "image_tokens": 0},
        }


def usage(input_details: dict[str, Any], text_tokens: int, audio_tokens: int) -> dict[str, Any]:
    """The `usage` of response.done, made of the details of the input and the tokens of the output."""
    tokens_in, tokens_out = input_details["text_tokens"] + input_details["audio_tokens"], text_tokens + audio_tokens
    return {
        "total_tokens": tokens_in + tokens_out,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "input_token_details": input_details,
        "output_token_details": {"text_tokens": text_tokens, "audio_tokens": audio_tokens},
    }


def transcription_usage(item: Item, model: str) -> dict[str, Any]:
    """The cost of a transcription: tokens for the gpt-4o models, seconds for others (docs/protocol/openai.md 2.2)."""
    if not model.startswith("gpt-4o"):
        return {"type": "duration", "seconds": round(item.audio_ms / 1000, 2)}
    heard, written = item.audio_ms // 100, tokens_of(item.text)
    return {
        "type": "tokens",
        "total_tokens": heard + written,
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": written,
    }
