"""Records calls: stereo, encrypted before the first byte reaches the disk, kept in a folder or an S3-compatible store.

recorder   one stream: what both sides heard, if it may be kept, in chunks of 250 ms    (pure, except for its tape)
timeline   puts each piece of audio at its place in time                                    (pure)
cipher     AES-256-GCM in chunks; keys                                                      (pure)
peaks      the waveform                                                                     (pure)
files      the file: while it is written, after a crash, and when it is played              (blocking)
writer     the thread that writes
stores     a folder, or S3
service    what a process does with recordings: open, write rows, upload
listening  a call's recordings as one sound: WAV, export

A frame goes from the session to the recorder. The writer's thread then encrypts it (cipher) and writes it (files) into
DATA_DIR/recordings. Closed files may go on to an S3-compatible store.
"""

from relay.recordings.recorder import Recorder
from relay.recordings.service import Recordings

__all__ = ["Recorder", "Recordings"]
