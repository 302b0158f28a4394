"""The text tokeniser: WordPiece (Wu et al. 2016) with 4M's special tokens, trained on the training split's texts.

Special tokens: padding, unknown, start, end, coordinates of boxes, and sentinels, which stand for cut-out runs. A text
to be predicted starts with a sentinel, so `START` is for models that read texts without masking them.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from medmm_lib import paths
from medmm_lib.fourm import boxes

FILE = "text_tokeniser.json"
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[START]", "[END]"
SENTINELS = 100
_HYPHEN = re.compile(r"(?<=\w) - (?=\w)")  # pieces forget that nothing stood around it
_SPECIAL = [PAD, UNKNOWN, START, END, *boxes.TOKENS, *(f"[S{k}]" for k in range(SENTINELS))]


class TextTokeniser:
    """Texts to token numbers and back."""

    def __init__(self, tokeniser: Tokenizer) -> None:
        self.tokeniser = tokeniser
        numbers = {token: tokeniser.token_to_id(token) for token in (PAD, UNKNOWN, START, END, "[S0]")}
        missing = [token for token, number in numbers.items() if number is None]
        if missing:
            raise ValueError(f"the tokeniser lacks {', '.join(missing)}; expected one that TextTokeniser.train made")
        self.pad, self.unknown, self.start, self.end, self.first_sentinel = numbers.values()

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int) -> "TextTokeniser":
        """Learn a vocabulary of at most `vocabulary_size` tokens, special ones included. Lower case, NFKC.

        The same texts give the same vocabulary: the library numbers the letters within words in the order of a hash
        table, and breaks ties by these numbers (huggingface/tokenizers, issue 1794), so they are numbered here.
        """
        tokeniser, texts = _word_pieces(models.WordPiece(unk_token=UNKNOWN)), list(texts)
        letters = sorted({letter for text in texts for letter in tokeniser.normalizer.normalize_str(text)} - {" "})
        numbered = [*_SPECIAL, *(f"##{letter}" for letter in letters)]
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocabulary_size, special_tokens=numbered, show_progress=False, min_frequency=2
        )
        tokeniser.train_from_iterator(texts, trainer)
        tokeniser = _word_pieces(models.WordPiece(tokeniser.get_vocab(), unk_token=UNKNOWN))
        tokeniser.add_special_tokens(_SPECIAL)
        return cls(tokeniser)

    @classmethod
    def of_vocabulary(cls, file: Path) -> "TextTokeniser":
        """One with a given vocabulary, a token a line (BERT's `vocab.txt`), and our special tokens behind it."""
        lines = file.read_text(encoding="utf-8").splitlines()
        if UNKNOWN not in lines:
            raise ValueError(f"{file} has no line {UNKNOWN}; expected a WordPiece vocabulary, a token a line")
        lower = not any(line != line.lower() for line in lines if not line.startswith("["))  # or it knows capitals
        model = models.WordPiece({token: at for at, token in enumerate(lines)}, unk_token=UNKNOWN)
        tokeniser = _word_pieces(model, lower=lower)
        tokeniser.add_special_tokens(_SPECIAL)
        return cls(tokeniser)

    @classmethod
    def read(cls, folder: Path) -> "TextTokeniser":
        """What `save` wrote into a folder."""
        return cls(Tokenizer.from_file(str(folder / FILE)))

    def save(self, folder: Path) -> None:
        """Write vocabulary and rules as JSON, for `read`."""
        paths.write_atomically(folder / FILE, self.tokeniser.to_str())

    @property
    def size(self) -> int:
        """How many tokens there are, special ones included."""
        return self.tokeniser.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token numbers, closed by the end token."""
        return [*self.tokeniser.encode(text).ids, self.end]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text up to its end token. Coordinates stay visible, other special tokens don't."""
        ids = list(numbers)
        ids = ids[: ids.index(self.end)] if self.end in ids else ids
        hidden = {self.pad, self.start} | set(range(self.first_sentinel, self.first_sentinel + SENTINELS))
        text = self.tokeniser.decode([number for number in ids if number not in hidden], skip_special_tokens=False)
        return _HYPHEN.sub("-", text)


def _word_pieces(model: models.WordPiece, *, lower: bool = True) -> Tokenizer:
    tokeniser = Tokenizer(model)
    tokeniser.normalizer = normalizers.Sequence([normalizers.NFKC(), *[normalizers.Lowercase()] * lower])
    tokeniser.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokeniser.decoder = decoders.WordPiece()
    return tokeniser
