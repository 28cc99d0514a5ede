"""Measures the audio path. `python -m bench.dsp` prints the figures and writes out/dsp.json and out/dsp.png.

response.py  measures gain, images, aliases and delay of each direction
dtmf.py      sends keypad tones through both directions
exact.py     checks that any cut, BLAS kernel and number of threads gives the same bytes, and that G.711 equals ITU's
cost.py      measures the microseconds of a frame, compared with audioop, and the memory
speech.py    measures PESQ, compared with the limit that mu-law sets (`--build` needs a C compiler and the network)
"""
