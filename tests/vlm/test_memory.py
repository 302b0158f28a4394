import pytest
import torch
from torch.nn import functional
from transformers import CLIPConfig

from medmm_lib.vlm import memory
from medmm_lib.vlm.adapters import ATTENTION, PROJECTIONS, adapt
from medmm_lib.vlm.finetuning import stored_parts
from medmm_lib.vlm.loading import load
from medmm_lib.vlm.training import IGNORED, answer_scores
from tests.vlm import small

NOTES = "google/paligemma-3b-mix-224"


def test_the_notes_sizes_to_the_last_digit():
    plan = memory.plan(NOTES, quantised=True, lora_rank=8, target_modules=["q_proj", "k_proj", "v_proj"])
    assert plan.parameters == 2_923_466_480
    assert f"{plan.weights_gib:.4f}" == "5.4454"
    assert f"{plan.quantised_gib:.4f}" == "2.0993"
    assert plan.trainable == 2_746_368
    assert f"{plan.quantised_gib + plan.adapter_gib:.4f}" == "2.1095"


@pytest.mark.parametrize(
    ("targets", "vision", "trainable", "percent"),
    [
        (ATTENTION, True, 3_336_192, "0.114"),
        (PROJECTIONS, True, 11_298_816, "0.385"),
        (PROJECTIONS, False, 9_805_824, "0.334"),
    ],
)
def test_the_notes_shares_of_trained_weights(targets, vision, trainable, percent):
    plan = memory.plan(NOTES, target_modules=targets, tune_vision=vision)
    assert (plan.trainable, f"{plan.trainable_percent:.3f}") == (trainable, percent)


def test_full_training_takes_four_times_the_weights():
    plan = memory.plan(NOTES, quantised=False, method="full")
    states = sum(size for part, size in plan.training_gib.items() if part not in ("activations", "loss"))
    assert states == pytest.approx(4 * plan.weights_gib)
    assert not plan.fits(memory.GPUS["T4 16 GB"])
    assert memory.plan(NOTES).fits(memory.GPUS["T4 16 GB"])
    assert not memory.plan(NOTES, batch_size=8, context=512).checkpointed.fits(memory.GPUS["T4 16 GB"])


def test_published_sizes_of_the_family():
    billions = {
        name: memory.plan(f"google/{name}").parameters / 1e9
        for name in ("paligemma2-3b-pt-224", "paligemma2-10b-mix-448")
    }
    assert billions == pytest.approx({"paligemma2-3b-pt-224": 3.03, "paligemma2-10b-mix-448": 9.66}, abs=0.005)


def test_the_layer_table_adds_up():
    model = memory.on_meta(NOTES)
    rows = memory.layer_table(model)
    assert sum(row["weights"] for row in rows) == 2_923_466_480
    assert sum(row["GiB, 4-bit"] for row in rows) == pytest.approx(2.09927, abs=1e-5)


def test_what_does_not_fit_goes_to_cpu_and_disk():
    model = memory.on_meta(NOTES)
    assert memory.offload(model, gpu_gib=15, cpu_gib=12) == pytest.approx(
        {"GPU": 5.4454, "CPU": 0, "disk": 0}, abs=1e-4
    )
    small_room = memory.offload(model, gpu_gib=3, cpu_gib=1)
    assert sum(small_room.values()) == pytest.approx(5.4454, abs=1e-4)
    assert small_room["GPU"] <= 3
    assert small_room["CPU"] <= 1
    assert small_room["disk"] > 0


def kept_by_a_real_pass(model, batch):
    """Bytes that autograd keeps, weights and inputs left out."""
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    own |= {part.untyped_storage().data_ptr() for part in batch.values()}
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        scores, labels = answer_scores(model, batch)
        functional.cross_entropy(scores, labels[labels != IGNORED])
    return sum(storage.nbytes() for storage in kept.values())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small.base(tmp_path_factory.mktemp("base"), steps=2)


CASES = [
    ("bf16", "lora", 0.0),
    ("bf16", "lora", 0.1),
    ("bf16", "full", 0.0),
    ("bf16", "bitfit", 0.0),
    ("4-bit", "lora", 0.0),
]


@pytest.mark.parametrize(("precision", "method", "dropout"), CASES)
def test_activations_are_those_that_a_real_pass_keeps(base, precision, method, dropout):
    real = adapt(load(base, precision), method=method, dropout=dropout).train()
    config = real.config
    ids = torch.full((3, 4 + 20), config.image_token_id)
    ids[:, 4:] = 5
    types = (ids == 5).long()
    batch = {"input_ids": ids, "token_type_ids": types, "attention_mask": torch.ones_like(ids), "labels": ids.clone(),
             "pixel_values": torch.rand(3, 3, 16, 16)}  # fmt: skip
    batch["labels"][types == 0] = IGNORED
    quantised = precision == "4-bit"
    plan = memory.plan(config, quantised=quantised, method=method, dropout=dropout, batch_size=3, context=20)
    assert plan.training_gib["activations"] * memory.GIB == pytest.approx(kept_by_a_real_pass(real, batch), rel=0.05)


@pytest.mark.parametrize(("precision", "bits"), [("4-bit", 4), ("8-bit", 8)])
def test_weights_are_those_that_are_stored(base, precision, bits):
    model = load(base, precision)
    stored = sum(part.nbytes for _, _, parts in stored_parts(model) for part in parts)
    planned = memory.plan(model.config, bits=bits).training_gib["weights"] * memory.GIB
    assert planned == pytest.approx(stored, rel=0.02)


def test_scores_of_a_large_vocabulary_take_two_copies():
    plan = memory.plan(NOTES, batch_size=2, context=256)
    assert plan.training_gib["loss"] == pytest.approx(2 * 2 * 256 * 257_216 * 4 / memory.GIB)


def test_other_models_are_named():
    with pytest.raises(ValueError, match="is of the type 'clip'; plans are for PaliGemma"):
        memory.plan(CLIPConfig())


def test_checkpointing_keeps_less():
    options = {"batch_size": 4, "context": 512}
    plan = memory.plan(NOTES, **options)
    whole, less = plan.training_gib, plan.checkpointed.training_gib
    assert less["activations"] < 0.5 * whole["activations"]
    assert {name: size for name, size in less.items() if name != "activations"} == {
        name: size for name, size in whole.items() if name != "activations"
    }


def test_weights_in_four_bits_cannot_be_trained():
    with pytest.raises(ValueError, match="quantised=False"):
        memory.plan(NOTES, method="full")
