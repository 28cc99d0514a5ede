"""Measures the audio path. `python -m bench.dsp` prints the figures and writes out/dsp.json and out/dsp.png.

response.py  measures gain, images, aliases and delay of each direction
dtmf.py      sends keypad tones through both directions
exact.py     compares the bytes of several cuts, BLAS kernels and numbers of threads, and G.711 with ITU's tables
cost.py      measures the microseconds of a frame, compared with audioop, and the memory
speech.py    measures PESQ, compared with the limit that mu-law sets (`--build` needs a C compiler and the network)
"""
