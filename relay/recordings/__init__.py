"""Calls as they were heard: stereo, encrypted from the first byte, kept in a folder or an S3-compatible store.

recorder   one stream: what both sides heard, if it may be kept, in chunks of 250 ms    (pure, except for its tape)
timeline   each piece at its place: Twilio's timestamps, Twilio's playback clock            (pure)
cipher     AES-256-GCM in chunks; keys                                                      (pure)
peaks      the waveform                                                                     (pure)
files      the file: while it is written, after a crash, and when it is played              (blocking)
writer     the thread that writes
stores     a folder, or S3
service    what a process does with recordings: open, write rows, upload, delete by age
listening  a call's recordings as one sound: WAV, export

A frame goes this way: session, recorder, files (in the writer's thread, by cipher), DATA_DIR/recordings, store.
"""

from relay.recordings.recorder import Recorder
from relay.recordings.service import Recordings

__all__ = ["Recorder", "Recordings"]
