"""What a chapter needs on a Kubernetes cluster, as manifests.

On DSRI, Maastricht University's OpenShift cluster, a GPU is attached by patching a Deployment, and taken away the same
way (https://maastrichtu-ids.github.io/dsri-documentation/docs/deploy-on-gpu, August 2026). Other clusters run a
`batch/v1` Job. A manifest carries no secret: the hub's token comes from a Secret that the user makes.
"""

import json
from dataclasses import dataclass
from typing import Any

HOME = "/workspace/persistent"  # where the volume is mounted: code, data and results
PROJECT = f"{HOME}/medmm"  # the checkout, with its environment in .venv
LOCAL = "/local"  # the node's own disk
SECRET_KEY = "HF_TOKEN"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Workspace:
    """What is asked of the cluster; the defaults are those of DSRI's own template for PyTorch on a GPU.

    `storage` is the size of the volume, `local` of what may be written on the node's own disk, `secret` the name of the
    Secret with the key HF_TOKEN, which may be missing.
    """

    name: str = "medmm"
    image: str = "ghcr.io/maastrichtu-ids/jupyterlab:gpu-pytorch"
    storage: str = "200Gi"
    storage_class: str = "ocs-storagecluster-cephfs"
    service_account: str = "anyuid"
    secret: str = "medmm-hub"
    cpus: int = 16
    memory: str = "128Gi"
    local: str = "100Gi"
    shared_memory: str = "8Gi"


def claim(space: Workspace) -> Manifest:
    """The volume, which outlives every run."""
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": _named(space),
        "spec": {
            "accessModes": ["ReadWriteMany"], "storageClassName": space.storage_class,
            "resources": {"requests": {"storage": space.storage}},
        },
    }  # fmt: skip


def deployment(space: Workspace, command: list[str]) -> Manifest:
    """A pod that runs `command` and is started again whenever it ends; without a GPU until `gpu_patch` attaches one."""
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": _named(space),
        "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"},  # never two pods on one folder
            "selector": {"matchLabels": {"app": space.name}},
            "template": {"metadata": {"labels": {"app": space.name}}, "spec": _pod(space, command, gpus=0)},
        },
    }  # fmt: skip


def job(space: Workspace, command: list[str], *, hours: float, tries: int = 6) -> Manifest:
    """A pod with one GPU that runs `command` to its end: for clusters with a queue.

    It is stopped after `hours`, and started again up to `tries` times after a failure; it then goes on from its
    checkpoints.
    """
    pod = _pod(space, command, gpus=1) | {"restartPolicy": "Never"}
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": _named(space),
        "spec": {
            "backoffLimit": tries, "activeDeadlineSeconds": round(3600 * hours),
            "template": {"metadata": {"labels": {"app": space.name}}, "spec": pod},
        },
    }  # fmt: skip


def gpu_patch(space: Workspace, gpus: int = 1) -> str:
    """The JSON patch of the Deployment that attaches a GPU, or with 0 gives it back."""
    path = "/spec/template/spec/containers/0/resources"
    return json.dumps([{"op": "replace", "path": path, "value": _resources(space, gpus)}])


def _named(space: Workspace) -> dict[str, Any]:
    return {"name": space.name, "labels": {"app": space.name}}


def _pod(space: Workspace, command: list[str], gpus: int) -> dict[str, Any]:
    token = {"secretKeyRef": {"name": space.secret, "key": SECRET_KEY, "optional": True}}
    variables = {"MEDMM_DATA": f"{HOME}/data", "HF_HOME": f"{HOME}/hub", "TMPDIR": LOCAL}
    container = {
        "name": space.name, "image": space.image, "command": command, "workingDir": PROJECT,
        "env": [{"name": SECRET_KEY, "valueFrom": token}]
        + [{"name": name, "value": value} for name, value in variables.items()],
        "resources": _resources(space, gpus),
        "volumeMounts": [
            {"name": "home", "mountPath": HOME}, {"name": "local", "mountPath": LOCAL},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }  # fmt: skip
    return {
        "serviceAccountName": space.service_account,
        "terminationGracePeriodSeconds": 300,  # for a last copy
        "containers": [container],
        "volumes": [
            {"name": "home", "persistentVolumeClaim": {"claimName": space.name}},
            {"name": "local", "emptyDir": {"sizeLimit": space.local}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": space.shared_memory}},
        ],
    }  # fmt: skip


def _resources(space: Workspace, gpus: int) -> dict[str, Any]:
    gpu = {"nvidia.com/gpu": gpus} if gpus else {}
    return {
        "limits": {"cpu": str(space.cpus), "memory": space.memory, **gpu},
        "requests": {"cpu": "2", "memory": "8Gi", **gpu},
    }
