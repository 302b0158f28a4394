"""Random bits as counters: which Philox counter gives which draw.

Every draw is a word of Philox4x32-7 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; seven rounds
pass all of BigCrush), a function of a key and a counter without any state. The key is the seed; the counter is (block,
stream, sample id low, sample id high), where word `w` of a stream is word `w % 4` of block `w // 4`. So a sample draws
the same bits in whatever batch, on whatever rank and device it is masked, and every path can be compared with
every other on the same bits.

`stream = purpose + 16 · modality + 65536 · attempt`.
"""

SAMPLE = 0  # words 0-2: mixture component, input total, target total; words 4, 5: rounding of the input, target budgets
INPUT_SHARE = 1  # block t: the three uniforms of attempt t at a gamma variate
TARGET_SHARE = 2
INPUT_REMAINDER = 3  # word r: the modality of left-over token r (parity)
TARGET_REMAINDER = 4
MODALITY = 5  # text: word 0 keep, word 1 sentinel at which a cut target starts; dense: words 0, 1 shift of blocks
SPAN = 6  # word i: is token i masked
SUBSET = 7  # word i: key of place i, or of block i

MODALITY_STEP = 16
ATTEMPT_STEP = 65536

PHILOX_ROUNDS = 7
MASK32 = 0xFFFFFFFF
WORD = 2.0**-32  # (word + 0.5) · WORD is uniform in (0, 1)
GAMMA_ATTEMPTS = 4  # Marsaglia-Tsang accepts with probability > 0.95; what is left after four (< 6e-6) takes the mode
SHARE_ONE = 1 << 24  # integer weight of the largest share, so that budgets are exact integer arithmetic
KEEP_DECAY = 0.9  # parity: keep is lowered by this factor until a corrupted text fits
SHORTEST_KEEP = 230  # parity: after so many decays keep · 2^32 is below 1 and every token is masked
RACE_SHIFT = 11  # a positive double's bits, shifted so, are below 2^52 and keep their order

# Φ⁻¹ by Wichura 1988, algorithm AS 241 (PPND16): numerator and denominator in the centre, further out, in the tails.
NORMAL_QUANTILE = (
    (
        2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
        1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
        5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0,
    ),
    (
        7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
        3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
        6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0,
    ),
    (
        2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
        2.96560571828504891230e-1, 1.78482653991729133580e0, 5.46378491116411436990e0, 6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
        1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0,
    ),
)  # fmt: skip
