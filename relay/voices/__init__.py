"""Voices that are not the model's own: the model writes, a voice service speaks.

voice.py                the interface: all that the call knows of it
text_for_speech.py      what the model writes -> clauses, with their places in its text; spoken_words.py: as they
                        are read aloud; number_words.py
speaking.py             what becomes of a call's items at the service (pure); sound_check.py: is it mu-law?
elevenlabs_protocol.py  ElevenLabs' JSON
elevenlabs_socket.py    its socket: dialled, read, kept alive, counted
prices.py               what a character costs (dated)
"""
