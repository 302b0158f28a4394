"""One pretraining from its settings to its held-out losses, and several that differ in one thing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from medmm_kernels import MaskSpec
from medmm_lib import sources
from medmm_lib.evaluation.arms import beside_first
from medmm_lib.fourm.mixture import mask_spec
from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.pretraining import MaskedTrainer, per_modality, pretrain, sample_losses, step
from medmm_lib.fourm.shape import Space, sized
from medmm_lib.fourm.text import SENTINELS, TextTokeniser
from medmm_lib.fourm.tokens import Tokens

# The masks that all models are compared under: half the studies as scans, half as anything.
HELD_OUT_MIXTURE = ("0.5: patches -> any", "0.5: any -> any")


@dataclass(frozen=True)
class Setup:
    """The settings of a pretraining. `shape` changes the named `size`; `strategy` goes to `MaskSpec`."""

    size: str
    mixture: tuple[str, ...]
    inputs: tuple[int, int]
    targets: tuple[int, int]
    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    shape: Mapping[str, int | str] = field(default_factory=dict)
    strategy: Mapping[str, object] = field(default_factory=dict)

    def model(self, studies: "Studies") -> FourM:
        """A new model; its first weights follow from the seed and from the codebooks."""
        torch.manual_seed(self.seed)
        model = FourM(sized(studies.spaces, self.size, **self.shape))
        model.embeddings.start_from(studies.codebooks)
        return model

    def spec(self, spaces: dict[str, Space], text: TextTokeniser) -> MaskSpec:
        """How its studies are masked."""
        return mask_spec(
            spaces, text.first_sentinel, SENTINELS,
            mixture=self.mixture, inputs=self.inputs, targets=self.targets, **self.strategy,
        )  # fmt: skip

    def held_out_spec(self, spaces: dict[str, Space], text: TextTokeniser) -> MaskSpec:
        """How held-out studies are masked, however the training's are: as many tokens given as a scan has patches,
        three times as many asked for."""
        given = sum(space.places for space in spaces.values() if space.kind == "patches")
        return mask_spec(
            spaces, text.first_sentinel, SENTINELS, mixture=HELD_OUT_MIXTURE, inputs=given, targets=3 * given
        )


@dataclass(frozen=True)
class Studies:
    """What a model is trained and tested on. `spaces`, `text` and `codebooks` are those of the tokenisers.

    Everything is measured on `held_out`; choices are made on `validation`. `key` tells these studies from all others:
    a training only goes on from a checkpoint of the same.
    """

    spaces: dict[str, Space]
    text: TextTokeniser
    codebooks: dict[str, torch.Tensor]
    training: Sequence[Tokens]
    weights: Sequence[float]
    validation: Tokens
    held_out: Tokens
    patients: Sequence[str]  # of the held-out studies
    key: str


@dataclass(frozen=True)
class Trained:
    """A trained model. `losses` [N, M]: nats a token of every held-out study and modality, NaN: nothing was asked;
    `final`: nats a token of each modality over all held-out studies, and of `all` tokens."""

    model: FourM
    trainer: MaskedTrainer
    losses: np.ndarray
    final: dict[str, float]

    @property
    def log(self) -> list[dict[str, float]]:
        """What the Trainer logged, also before a resumed training was interrupted."""
        return self.trainer.state.log_history

    @property
    def step_seconds(self) -> float:
        """The median step's, the optimiser's part included."""
        return float(np.median([entry["step_seconds"] for entry in self.log if "step_seconds" in entry]))

    @property
    def tokens(self) -> int:
        """How many tokens were given and asked for."""
        return int(sum(entry.get("tokens", 0) for entry in self.log))

    @property
    def tokens_per_second(self) -> float:
        """Given and asked for."""
        return self.tokens / sum(entry.get("seconds", 0.0) for entry in self.log)

    @property
    def parameters(self) -> int:
        """How many weights."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def train(setup: Setup, studies: Studies, folder: Path, **options: object) -> Trained:
    """Pretrain one model; `options` go to `pretrain`. Goes on where an earlier run with the same settings stopped."""
    spaces, text = studies.spaces, studies.text
    model, held_out_spec = setup.model(studies), setup.held_out_spec(spaces, text)
    own = folder / sources.json_hash([asdict(setup), studies.key])
    trainer = pretrain(
        model, studies.training, studies.held_out, setup.spec(spaces, text), own,
        steps=setup.steps, batch_size=setup.batch_size, learning_rate=setup.learning_rate, seed=setup.seed,
        held_out_spec=held_out_spec, weights=studies.weights, **options,
    )  # fmt: skip
    sums, counts = sample_losses(model, studies.held_out, held_out_spec)
    final = per_modality(model, sums.sum(0), counts.sum(0)) | {"all": float(sums.sum() / counts.sum())}
    return Trained(model, trainer, (sums / counts).numpy(), final)


def arm(setup: Setup, studies: Studies, folder: Path, seeds: Sequence[int]) -> list[Trained]:
    """One arm of a study: trained once with each seed."""
    return [train(replace(setup, seed=seed), studies, folder, evaluations=0) for seed in seeds]


def comparison(arms: Mapping[str, Sequence[Trained]], studies: Studies, names: Sequence[str]) -> pd.DataFrame:
    """Arms beside the first of them; each was trained with the same seeds.

    Columns: arm, modality (`all`: the mean of `names`, each counting the same), loss, low, high, and the loss less that
    of the first arm with its interval and p-value; over patients, of losses averaged over seeds. `seeds`: the spread,
    standard deviation, between seeds, NaN for one. `step_ms`, `tokens` (seen), `parameters`.
    """
    losses: dict[str, dict[str, np.ndarray]] = {name: {} for name in (*names, "all")}  # modality → arm → [seeds, N]
    costs = []
    for arm, runs in arms.items():
        each = np.stack([run.losses for run in runs])  # [seeds, N, M]
        index = [runs[0].model.shape.names.index(name) for name in names]
        for name, m in zip(names, index, strict=True):
            losses[name][arm] = each[..., m]
        losses["all"][arm] = np.nanmean(each[..., index], axis=-1)
        step_ms = 1000 * float(np.median([run.step_seconds for run in runs]))
        costs.append({"arm": arm, "step_ms": step_ms, "tokens": runs[0].tokens, "parameters": runs[0].parameters})
    tables = [beside_first(part, studies.patients).assign(modality=name) for name, part in losses.items()]
    table = pd.concat(tables).rename(columns={"value": "loss"}).merge(pd.DataFrame(costs), on="arm")
    order = {arm: place for place, arm in enumerate(arms)}
    return table.sort_values("arm", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def step_flops(setup: Setup, studies: Studies) -> int:
    """Floating-point operations of the matrix products in one step, forward and backward, the optimiser's not counted.

    Attention counts as if every query saw every key.
    """
    model, rows = setup.model(studies), torch.arange(setup.batch_size) % len(studies.training[0])
    spec = setup.spec(studies.spaces, studies.text)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        step(model, studies.training[0].rows(rows), spec, setup.seed, rows)[0].loss.backward()
    return counter.get_total_flops()
