"""Opens a voice for each call whose phone rings, and keeps it until the call claims it."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
import trio

from relay.call.vocabulary import CallSid
from relay.voices.voice import Voice, VoiceFault, Voices, VoiceUnavailable

log = structlog.get_logger()

# How many seconds an open voice waits for its call's stream before it is closed. A warm model session waits equally
# long (realtime/client.py).
WARM_LIFE_S = 30.0


@dataclass(slots=True)
class _Warm:
    """A voice that is being opened for one call, or that waits to be claimed."""

    # Cancelling this closes a voice that nobody claimed.
    life: trio.CancelScope = field(default_factory=trio.CancelScope)
    # Cancelling this ends the wait and hands the voice over.
    idle: trio.CancelScope = field(default_factory=trio.CancelScope)
    done: trio.Event = field(default_factory=trio.Event)
    voice: Voice | None = None
    error: VoiceUnavailable | None = None
    claimed: bool = False


class WarmVoices:
    """The open voices of all calls of a process."""

    def __init__(self, voices: Voices) -> None:
        self.source = voices
        self._warm: dict[CallSid, _Warm] = {}
        self._nursery: trio.Nursery | None = None

    def ring(self, call_sid: CallSid, now: float) -> None:
        """Begin to open a voice for a call that rings."""
        if call_sid in self._warm or self._nursery is None:
            return
        warm = self._warm[call_sid] = _Warm()
        warm.life.deadline = now + WARM_LIFE_S
        self._nursery.start_soon(self._hold, call_sid, warm)

    def release(self, call_sid: CallSid) -> None:
        """The call ended before its stream began. Its voice is closed."""
        warm = self._warm.get(call_sid)
        if warm is not None:
            warm.life.cancel()

    async def claim(self, call_sid: CallSid) -> Voice:
        """The call's voice. Waits while it is being opened. If none was opened for this call, opens one now.

        Whoever gets the voice must close it. Raises VoiceUnavailable.
        """
        warm = self._warm.pop(call_sid, None)
        if warm is None:
            return await self.source.open()
        warm.claimed = True
        warm.idle.cancel()
        try:
            await warm.done.wait()
        # The call ended during this wait. `_hold` may have handed a voice over, so it is closed here.
        except trio.Cancelled:
            warm.claimed = False
            warm.life.cancel()
            if warm.voice is not None:
                await warm.voice.close()
            raise
        if warm.voice is None:
            raise warm.error or VoiceUnavailable(VoiceFault.UNREACHABLE, "the opening of the voice was stopped")
        return warm.voice

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open and hold voices until cancelled. Runs in the process's nursery."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def _hold(self, call_sid: CallSid, warm: _Warm) -> None:
        voice: Voice | None = None
        try:
            with warm.life:
                voice = await self.source.open()
                with warm.idle:
                    await voice.keep()
                    await trio.sleep_forever()  # If the voice is lost meanwhile, `Voice.run` reports it later.
            if warm.claimed:
                warm.voice, voice = voice, None
        except VoiceUnavailable as error:
            warm.error = error
        except Exception as error:
            log.exception("voice.warm_voice_broke", words="a bug of the relay: the model speaks by itself")
            warm.error = VoiceUnavailable(VoiceFault.UNREACHABLE, f"a bug of the relay: {error}")
        finally:
            if self._warm.get(call_sid) is warm:
                del self._warm[call_sid]
            warm.done.set()
            if voice is not None:
                await voice.close()
