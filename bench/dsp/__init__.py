"""Measures the audio path. `python -m bench.dsp` prints the figures and writes out/dsp.json and out/dsp.png.

response.py  gain, images, aliases and delay, each direction alone    dtmf.py    keypad tones through both directions
exact.py     bits: cuts, BLAS kernels, threads, ITU's tables, counts  cost.py    microseconds beside audioop, memory
speech.py    PESQ against the mu-law bound, in its own environment (`--build` needs a C compiler and the network)
"""
