"""Holds the filter of both directions, and its data sheet. tests/dsp/test_spectrum.py measures its figures.

Use             up:   8 kHz -> 24 kHz (two zeros put between samples, gain 3), against images
                down: 24 kHz -> 8 kHz (every third sample taken), against aliases
Kind            FIR, minimum phase, 72 taps at 24 kHz (24 a phase)
Pass band       0-3400 Hz, ripple 0.019 dB peak to peak
Stop band       from 4500 Hz, at least 81.5 dB down; exact zero at 8 kHz
Delay           of the filter: mean over 300-3400 Hz 0.318 ms; 0.728 ms at 3400 Hz. Going down it is two samples less
                (mean 0.234 ms), because output k is taken as soon as input 3k + 2 is there
Gain at DC      exactly 1 in each phase: a constant stays the same constant
Numbers         integers / 2**30. With int16 samples every product and every partial sum stays below 2**53. So float64
                arithmetic is exact: block size, thread count, BLAS kernel and CPU change no bit
Origin          designed for this relay by dsp/design.py, which prints these taps again

Why this filter was chosen (each line is the best filter that dsp/design.py finds; the ripple is always 0.019 dB):

    taps   stop from   stop band   mean delay (up)
      66     4600 Hz    -82.9 dB        0.309 ms
      72     4500 Hz    -81.8 dB        0.318 ms    <- chosen
      78     4400 Hz    -81.1 dB        0.330 ms
      84     4300 Hz    -78.3 dB        0.333 ms

Sound above 4000 Hz becomes an alias inside the telephone band. At -81 dB this alias is 40 dB below the noise of mu-law
itself. So a stop band that begins at a lower frequency is worth more than a deeper stop band. With six more taps the
stop band would begin 100 Hz lower. But there would be 0.01 ms more delay and 0.7 dB less attenuation. Only 1 dB would
be left above the promised 80 dB, and the rounding to int16 needs a part of it. The CPU time of a frame is the same with
each number of taps. A linear-phase filter with the same figures needs 88 taps and has a delay of 1.81 ms, six times as
much. It would not sound better: this filter reaches the PESQ of one mu-law conversion, which is the possible maximum
(bench/dsp). A minimum-phase filter changes the shape of the wave, but nobody hears the change.
"""

RATE_HZ = 24_000  # The filter works at this rate.
TAPS = 72
PASS_HZ = 3_400.0
STOP_HZ = 4_500.0
RIPPLE_DB = 0.0195  # The greatest ripple in the pass band, peak to peak.
STOP_DB = -81.5  # The greatest gain from STOP_HZ on.
DELAY_MS = 0.318  # The mean delay over 300-3400 Hz.

UNIT = 2**30  # The taps are integers. Their real value is tap / UNIT.

# The filter is (1, 1, 1) * Q. The three ones make the exact zero at 8 kHz, and give the three phases equal sums.
Q = (
    4800050,
    23008977,
    64813445,
    135185460,
    221592558,
    290861176,
    301935542,
    228698083,
    84287745,
    -73669935,
    -171031996,
    -161474940,
    -58570918,
    67222064,
    133251671,
    101510681,
    3070443,
    -86276632,
    -102209803,
    -40029410,
    45356848,
    86442863,
    55706854,
    -15755107,
    -66713919,
    -58315349,
    -3825689,
    47713621,
    54415891,
    15345616,
    -31834500,
    -46862737,
    -21187607,
    19081903,
    38480208,
    22956353,
    -9837259,
    -29853618,
    -22154433,
    3142872,
    22340608,
    19762080,
    904049,
    -15654004,
    -16572812,
    -3450254,
    10553943,
    13181920,
    4287298,
    -6382578,
    -9887184,
    -4574210,
    3659355,
    7056401,
    3879243,
    -1564207,
    -4641764,
    -3327222,
    560894,
    2891381,
    2234543,
    226011,
    -1530837,
    -1691042,
    -253176,
    848064,
    967523,
    764620,
    154684,
    -278575,
)


def _prototype() -> tuple[int, ...]:
    return tuple(sum(Q[max(0, n - 2) : n + 1]) for n in range(TAPS))


# The filter itself: 72 integers. The sum of each phase ([0::3], [1::3], [2::3]) is UNIT.
PROTOTYPE = _prototype()
