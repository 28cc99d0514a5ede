"""Speaks the model's text in another voice than the model's: a voice service (ElevenLabs) makes the sound.

voice.py                says what every voice must have; a call uses nothing else
text_for_speech.py      cuts the model's text into clauses, and notes the place of each clause in the text
spoken_words.py         writes a text as it is read aloud; number_words.py does this for numbers
speaking.py             keeps the state of a call's items at the service
sound_check.py          checks that the sound is mu-law
elevenlabs_protocol.py  makes and reads ElevenLabs' messages
elevenlabs_socket.py    opens, reads and counts sockets to ElevenLabs
prices.py               has the price of one character of text
"""
