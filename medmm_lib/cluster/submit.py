"""`medmm submit`: shows what a run of a chapter on a cluster takes, and submits it with the cluster's client."""

import shlex
import shutil
import subprocess
import textwrap
from dataclasses import dataclass

import yaml

from medmm_lib import parameters, paths, running
from medmm_lib.cluster import manifests
from medmm_lib.cluster.estimate import GpuDays, gpu_days
from medmm_lib.cluster.manifests import HOME, LOCAL, PROJECT, Workspace
from medmm_lib.scaling.planner import GPU_DAYS_A_MONTH

CLIENTS = {"dsri": "oc", "kubernetes": "kubectl"}


class SubmitError(RuntimeError):
    """A run that can't be submitted; the message says why and what to do."""


@dataclass(frozen=True)
class Submission:
    """A chapter's run: its manifests as YAML, the commands that a person (or `run`) gives, and the GPU-days."""

    chapter: str
    profile: str
    target: str
    yaml: str
    commands: list[tuple[str, str]]  # what it does, the command
    days: GpuDays

    def __str__(self) -> str:
        """A page to read: what will happen, the commands, the manifests."""
        limit = f" Its time limit ends it after {self.days.at_most:.2f}." if self.days.at_most else ""
        expected = f"{self.days.expected:.2f} ({self.days.how})" if self.days.expected else "not known"
        booked = f"{self.days.booked:.2f} of {GPU_DAYS_A_MONTH} a month" if self.days.booked else "not known"
        lines = [f"# {self.chapter}, profile {self.profile}, on {self.target}", ""]
        lines += [f"GPU-days expected: {expected}.{limit}", f"GPU-days to book: {booked}.", ""]
        for number, (what, command) in enumerate(self.commands, 1):
            lines += [f"{number}. {what}", "", textwrap.indent(command, "       "), ""]
        return "\n".join([*lines, "# The manifests", "", self.yaml])


def prepare(target: str, chapter: str, profile: str, space: Workspace, *, booked: float = 0.0) -> Submission:
    """What a run takes and does. `target` is `dsri`, or `kubernetes` for clusters with a queue.

    `booked`: the GPU-days that this month has seen already. Raises `SubmitError` for an unknown target or chapter and
    for a run that DSRI's monthly limit does not allow, `RunError` for a missing or wrong parameter file.
    """
    if target not in CLIENTS:
        raise SubmitError(f"unknown target {target!r}; expected {' or '.join(CLIENTS)}")
    if chapter not in paths.chapters():
        raise SubmitError(f"no chapter is called {chapter}. There are: {', '.join(paths.chapters())}")
    running.parameters_of(
        profile, chapter
    )  # on the cluster, a mistake in them would only be told when the GPU is there
    days = gpu_days(chapter, parameters.of_profile(profile, chapter))
    if target == "dsri" and days.booked and booked + days.booked > GPU_DAYS_A_MONTH:
        raise SubmitError(
            f"{chapter} may take {days.booked:.2f} GPU-days; with {booked:.2f} of this month that is more than the "
            f"{GPU_DAYS_A_MONTH} that DSRI gives a user. Set max_minutes lower: a run goes on from its checkpoint"
        )
    run = [".venv/bin/python", "-m", "medmm_lib.cluster.staging", "--profile", profile, "--only", chapter]
    run += ["--local", LOCAL, "--room", space.local.removesuffix("Gi"), "--gpu"]
    if target == "dsri":
        # A Deployment starts its pod again whenever it ends: so it stays, also before the environment is there.
        stay = f"[ -e .venv/installed ] && exec {shlex.join(run)} --stay; trap exit TERM; sleep infinity & wait"
        shown = [manifests.claim(space), manifests.deployment(space, ["bash", "-c", stay])]
        commands = _on_dsri(space, chapter, profile)
    else:
        hours = 24 * (days.booked or 1.0) + 1
        shown = [manifests.claim(space), manifests.job(space, run, hours=hours)]
        commands = _on_kubernetes(space, chapter, profile)
    text = yaml.safe_dump_all(shown, sort_keys=False, width=1000)
    return Submission(chapter, profile, target, text, commands, days)


def run(submission: Submission) -> None:
    """Apply the manifests with the cluster's client. Raises `SubmitError` when it is not there, not logged in, or
    refuses them."""
    client = CLIENTS[submission.target]
    if shutil.which(client) is None:
        raise SubmitError(f"{client} is not on the PATH: install the cluster's client and log in, or give --dry-run")
    applied = subprocess.run([client, "apply", "-f", "-"], input=submission.yaml, text=True, capture_output=True)
    if applied.returncode:
        raise SubmitError(f"{client} apply said: {applied.stderr.strip() or applied.stdout.strip()}")


def _on_dsri(space: Workspace, chapter: str, profile: str) -> list[tuple[str, str]]:
    patch = f"oc patch deployment/{space.name} --type=json -p="
    attach, give_back = (patch + shlex.quote(manifests.gpu_patch(space, gpus)) for gpus in (1, 0))
    pod = f"pod=$(oc get pod --selector app={space.name} -o jsonpath='{{.items[0].metadata.name}}')"
    inside = f"oc exec deployment/{space.name} --"
    results = f"artifacts/{profile}/{chapter}/"
    return [
        ("Book the GPU in DSRI's calendar. Until it is attached, the pod waits.",
         "https://maastrichtu-ids.github.io/dsri-documentation/gpu-booking"),
        ("Make the hub's token known to the pod, once, if a gated model is needed. It stands in no manifest.",
         f"oc create secret generic {space.secret} --from-literal={manifests.SECRET_KEY}=$HF_TOKEN"),
        ("Start the workspace: a volume, and a pod without a GPU.",
         f"medmm submit dsri --chapter {chapter} --profile {profile}"),
        ("Bring project and data onto the volume. The same again brings only what changed.",
         f"{pod}\noc rsync --delete --exclude=.venv --exclude=_site --exclude=artifacts ./ $pod:{PROJECT}\n"
         f"oc rsync $MEDMM_DATA/ $pod:{HOME}/data"),
        ("Make the environment there, and rehearse on CPU cores with the embedded data.",
         f"{inside} make -C {PROJECT} setup\n{inside} {PROJECT}/.venv/bin/medmm run --only {chapter}"),
        ("When the booking starts, attach the GPU. The pod starts again, copies project and data to the node's own "
         "disk, and runs. What it leaves comes back to the volume every five minutes.", attach),
        ("Watch it.", f"oc logs -f deployment/{space.name}"),
        ("Bring the results home, and make them the results of record.",
         f"mkdir -p {results}\n{pod}\noc rsync --exclude='checkpoint-*' $pod:{PROJECT}/{results} {results}\n"
         f"medmm results promote {chapter} --profile {profile}"),
        ("Give the GPU back. At 09:00 after the booking it is taken away. The pod then waits for the next one, and "
         "goes on from its checkpoints.", give_back),
    ]  # fmt: skip


def _on_kubernetes(space: Workspace, chapter: str, profile: str) -> list[tuple[str, str]]:
    results = f"{PROJECT}/artifacts/{profile}/{chapter}"
    return [
        ("Make the hub's token known, once, if a gated model is needed. It stands in no manifest.",
         f"kubectl create secret generic {space.secret} --from-literal={manifests.SECRET_KEY}=$HF_TOKEN"),
        (f"Place project and data on the volume {space.name}, below {PROJECT} and {HOME}/data, make the environment "
         f"there (make -C {PROJECT} setup, in a pod of the same image), and queue the run.",
         f"medmm submit kubernetes --chapter {chapter} --profile {profile}"),
        ("Watch it.", f"kubectl logs -f job/{space.name}"),
        (f"Fetch {results} from the volume, and make it the result of record.",
         f"medmm results promote {chapter} --profile {profile}"),
    ]  # fmt: skip
