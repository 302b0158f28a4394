"""What it takes to write, keep, read, tokenise and train on images, from what one of them takes."""

from dataclasses import dataclass

from medmm_lib.scaling.planner import Machine


@dataclass(frozen=True)
class Costs:
    """What one image takes, and what is paid for it.

    Core-seconds of writing, reading and tokenising; FLOPs of training on it once; bytes of its picture and text, and of
    its tokens; then euros for an hour of a core, and for 10¹² bytes kept for a month.
    """

    write: float
    read: float
    tokenise: float
    train_flops: float
    bytes: float
    token_bytes: float
    euros_core: float
    euros_tb: float

    def bill(self, images: float, machine: Machine, *, cores: int, epochs: float) -> dict[str, float]:
        """Hours, gigabytes (10⁹) and euros for `images`, by `cores` and one GPU.

        Each image is written and tokenised once, after it was read once, and trained on `epochs` times. `feeding_cores`
        is how many cores keep that GPU busy that decode as it trains. All of it is proportional: no failure, no
        waiting, no start-up.
        """
        core_hours = {name: images * getattr(self, name) / 3600 for name in ("write", "read", "tokenise")}
        gpu_hours = machine.hours(images * epochs * self.train_flops)
        kept = images * self.bytes
        return {
            **{f"{name}_hours": hours / cores for name, hours in core_hours.items()},
            "gpu_hours": gpu_hours, "gb": kept / 1e9, "token_gb": images * self.token_bytes / 1e9,
            "feeding_cores": self.read * self.trained_a_second(machine),
            "euros": sum(core_hours.values()) * self.euros_core + gpu_hours * machine.euros_per_hour,
            "euros_a_month": kept / 1e12 * self.euros_tb,
        }  # fmt: skip

    def trained_a_second(self, machine: Machine) -> float:
        """Images that the GPU trains on in a second, if it never waits for one."""
        return 1 / (3600 * machine.hours(self.train_flops))
