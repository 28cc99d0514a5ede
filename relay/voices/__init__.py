"""Voices that are not the model's own: the model writes, and a voice service speaks.

voice.py                the interface; the call knows nothing else of a voice
text_for_speech.py      cuts the model's text into clauses, with their places in the text
spoken_words.py         turns a text into words that are read aloud; number_words.py does this for numbers
speaking.py             keeps the state of a call's items at the service (pure)
sound_check.py          checks that the sound is mu-law
elevenlabs_protocol.py  ElevenLabs' JSON
elevenlabs_socket.py    the socket to ElevenLabs: opens it, reads it, keeps it alive, counts it
prices.py               the price of a character, with its date
"""
