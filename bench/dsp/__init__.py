"""Measures the audio path: `python -m bench.dsp` prints the figures and leaves out/dsp.json and out/dsp.png.

response.py  gain, images, aliases and delay, each direction alone    dtmf.py    keypad tones through both directions
exact.py     bits: cuts, BLAS kernels, threads, ITU's tables, counts  cost.py    microseconds beside audioop, memory
speech.py    PESQ against the mu-law bound, in an environment of its own (`--build` makes it: a C compiler, a network)
"""
