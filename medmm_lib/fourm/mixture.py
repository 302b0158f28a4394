"""Which modalities a training step gives and asks for, written as lines such as `0.6: patches -> label map, boxes * 2`.

4M draws the Dirichlet concentrations of every sample from a mixture (Mizrahi et al. 2023, appendix); a line is one
component of it.
"""

import re
from collections.abc import Sequence

from medmm_kernels import MaskSpec, Modality
from medmm_lib.fourm.shape import Space

ANY = "any"
_LINE = re.compile(r"\s*([\d.]+)\s*:(.*)->(.*)")


def mask_spec(
    spaces: dict[str, Space],
    first_sentinel: int,
    sentinels: int,
    *,
    mixture: Sequence[str],
    inputs: int | tuple[int, int],
    targets: int | tuple[int, int],
    alpha: float = 1.0,
    **strategy: object,
) -> MaskSpec:
    """How studies are masked.

    A line of `mixture` is `share: modalities given -> modalities asked for`. A modality may be followed by `* number`,
    which multiplies its `alpha`: the larger, the more of the budget is its own. `any` is every modality, or every one
    that the line does not name. Patches can't be asked for. A text that a line only gives is given whole, if
    the budget allows. `strategy` goes to `MaskSpec`. Raises ValueError for a line
    that names an unknown modality or can't be read.
    """
    lines = [_read(line, spaces) for line in mixture]
    if not lines:
        raise ValueError("mixture is empty; expected lines such as '1: any -> any'")

    def modality(name: str, space: Space) -> Modality:
        given, asked = (tuple(alpha * line[side].get(name, 0.0) for line in lines) for side in (1, 2))
        keep = tuple("uniform" if target else "all" for target in asked)  # nothing need be cut out of what is not asked
        sequence = space.kind == "sequence"
        kind, grid = ("sequence", None) if sequence else ("dense", space.grid)
        return Modality(kind, space.places, given, asked, keep, grid)

    return MaskSpec(
        {name: modality(name, space) for name, space in spaces.items()},
        inputs,
        targets,
        first_sentinel=first_sentinel,
        sentinels=sentinels,
        mixture=tuple(line[0] for line in lines),
        **strategy,
    )


def _read(line: str, spaces: dict[str, Space]) -> tuple[float, dict[str, float], dict[str, float]]:
    """The share of a line, and what every modality's α is multiplied by: given, asked for."""
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise ValueError(f"mixture has {line!r}; expected a line such as '0.5: patches -> label map, caption * 2'")
    asked_for = {name: space for name, space in spaces.items() if space.kind != "patches"}
    return float(parts[1]), _weights(parts[2], line, spaces), _weights(parts[3], line, asked_for)


def _weights(text: str, line: str, spaces: dict[str, Space]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for entry in text.split(","):
        name, _, times = (part.strip() for part in entry.partition("*"))
        if name != ANY and name not in spaces:
            raise ValueError(f"mixture has {line!r}, with {name!r}; expected {ANY} or some of {', '.join(spaces)}")
        try:
            weights[name] = float(times or 1)
        except ValueError:
            raise ValueError(f"mixture has {line!r}; expected a number after *, found {times!r}") from None
    rest = weights.pop(ANY, None)
    return weights if rest is None else {name: rest for name in spaces} | weights
