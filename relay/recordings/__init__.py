"""Records calls: stereo, encrypted before the first byte reaches the disk, kept in a folder or an S3-compatible store.

recorder   joins the sound of the caller and of the agent to chunks of 250 ms, for one stream    (pure)
timeline   puts each piece of audio at its place in time                                         (pure)
cipher     encrypts and decrypts chunks (AES-256-GCM), and reads the keys                        (pure)
peaks      makes the waveform                                                                    (pure)
files      writes, closes and reads the files, also after a crash                                (blocking)
writer     has the thread that writes
stores     stores closed files in a folder or in S3                                              (blocking)
service    opens the recordings of a process, writes their rows, and uploads them
listening  makes one sound of a call's recordings, to play or to export                          (blocking)

The session gives each frame to the recorder. The writer's thread encrypts the chunks (cipher) and writes them (files)
into DATA_DIR/recordings. Closed files may be uploaded to an S3-compatible store.
"""

from relay.recordings.recorder import Recorder
from relay.recordings.service import Recordings

__all__ = ["Recorder", "Recordings"]
