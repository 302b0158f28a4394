"""The fields of a row."""

from medmm_kernels.batch import IGNORE, NO_MODALITY, NO_TOKEN, Decoder, Encoder
from medmm_kernels.compiled.jit import glue

IDS, ENC_MODALITY, ENC_POSITION = (Encoder._fields.index(field) for field in ("ids", "modality", "position"))
TARGETS, DEC_MODALITY, DEC_POSITION, START, END = (
    Decoder._fields.index(field) for field in ("targets", "modality", "position", "start", "end")
)
LANES = 32  # keys that a counting loop takes at a time


@glue
def finish_row(enc, enc_valid, dec, dec_valid, b, at, to):
    """Mark what is written as valid and fill what is left of a row."""
    enc_valid[b, :at], enc_valid[b, at:] = True, False
    dec_valid[b, :to], dec_valid[b, to:] = True, False
    for i in range(at, enc.shape[2]):
        enc[IDS, b, i], enc[ENC_MODALITY, b, i], enc[ENC_POSITION, b, i] = NO_TOKEN, NO_MODALITY, 0
    for i in range(to, dec.shape[2]):
        dec[IDS, b, i], dec[TARGETS, b, i], dec[DEC_MODALITY, b, i] = NO_TOKEN, IGNORE, NO_MODALITY
        dec[DEC_POSITION, b, i] = dec[START, b, i] = dec[END, b, i] = 0
