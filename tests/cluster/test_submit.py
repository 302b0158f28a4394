import json

import kubernetes_validate
import pytest
import yaml

from medmm_lib import cli, parameters
from medmm_lib.cluster import manifests, submit
from medmm_lib.cluster.estimate import GpuDays, gpu_days
from medmm_lib.cluster.manifests import Workspace

KUBERNETES = "1.34"  # of OKD 4.21, which DSRI runs
CHAPTER = "03_fourm_pretraining"


def prepared(target="dsri", **changes):
    return submit.prepare(target, CHAPTER, "dsri", Workspace(), **changes)


@pytest.mark.parametrize("target", ["dsri", "kubernetes"])
def test_manifests_are_valid_and_carry_no_secret(target):
    made = prepared(target)
    documents = list(yaml.safe_load_all(made.yaml))
    assert [one["kind"] for one in documents] == ["PersistentVolumeClaim", "Deployment" if target == "dsri" else "Job"]
    for one in documents:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    assert "HF_TOKEN" in made.yaml
    [token] = [one for one in _container(documents[1])["env"] if one["name"] == "HF_TOKEN"]
    assert "value" not in token
    assert token["valueFrom"]["secretKeyRef"]["name"] == Workspace().secret


def _container(document):
    return document["spec"]["template"]["spec"]["containers"][0]


def test_a_deployment_gets_its_gpu_by_a_patch_and_a_job_has_one():
    deployed, queued = (list(yaml.safe_load_all(prepared(target).yaml))[1] for target in ("dsri", "kubernetes"))
    assert "nvidia.com/gpu" not in _container(deployed)["resources"]["limits"]
    assert _container(queued)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert queued["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    [change] = json.loads(manifests.gpu_patch(Workspace()))
    assert change["path"] == "/spec/template/spec/containers/0/resources"
    _container(deployed)["resources"] = change["value"]
    kubernetes_validate.validate(deployed, KUBERNETES, strict=True)
    assert change["value"]["requests"]["nvidia.com/gpu"] == change["value"]["limits"]["nvidia.com/gpu"] == 1
    [change] = json.loads(manifests.gpu_patch(Workspace(), 0))
    assert "nvidia.com/gpu" not in change["value"]["limits"]


def test_shared_memory_the_nodes_disk_and_the_volume_are_mounted():
    pod = list(yaml.safe_load_all(prepared().yaml))[1]["spec"]["template"]["spec"]
    mounted = {one["mountPath"]: one["name"] for one in pod["containers"][0]["volumeMounts"]}
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert volumes[mounted["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert volumes[mounted[manifests.HOME]]["persistentVolumeClaim"]["claimName"] == "medmm"
    assert "emptyDir" in volumes[mounted[manifests.LOCAL]]
    assert pod["serviceAccountName"] == "anyuid"


def test_a_dry_run_reads_like_a_page_and_does_nothing(capsys, monkeypatch):
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("nothing is to be run"))
    assert cli.main(["submit", "dsri", "--chapter", CHAPTER, "--dry-run"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"# {CHAPTER}, profile dsri, on dsri\n\nGPU-days expected: 0.")
    assert "oc patch deployment/medmm --type=json" in page
    assert f"medmm_lib.cluster.staging --profile dsri --only {CHAPTER} --local /local --room 100 --gpu --stay" in page


def test_without_oc_it_says_so(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert cli.main(["submit", "dsri", "--chapter", CHAPTER]) == 1
    assert "oc is not on the PATH" in capsys.readouterr().err


def test_with_oc_the_manifests_are_applied(tmp_path, capsys, monkeypatch):
    oc = tmp_path / "oc"
    oc.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n/bin/cat > {tmp_path}/given\n')
    oc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["submit", "dsri", "--chapter", CHAPTER]) == 0
    assert (tmp_path / "said").read_text() == "apply -f -\n"
    assert (tmp_path / "given").read_text() == prepared().yaml
    oc.write_text("#!/bin/sh\necho 'not logged in' >&2; exit 1\n")
    assert cli.main(["submit", "dsri", "--chapter", CHAPTER]) == 1
    assert "oc apply said: not logged in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["slurm", "--chapter", CHAPTER], "unknown target 'slurm'; expected dsri or kubernetes"),
        (["dsri", "--chapter", "09_more"], "no chapter is called 09_more. There are: 01_data_preparation"),
        (["dsri", "--chapter", CHAPTER, "--profile", "mine"], "there is no params/mine/03"),
        (["dsri", "--chapter", CHAPTER, "--booked", "3.9"], "with 3.90 of this month that is more than the 4"),
    ],
)
def test_what_can_not_be_submitted_is_told(arguments, told, capsys):
    assert cli.main(["submit", *arguments, "--dry-run"]) == 1
    assert told in capsys.readouterr().err


def test_gpu_days_follow_the_work_and_end_at_the_time_limit():
    given = parameters.of_profile("dsri", CHAPTER)
    once = gpu_days(CHAPTER, given)
    assert gpu_days(CHAPTER, given | {"steps": 2 * given["steps"]}).expected == pytest.approx(2 * once.expected)
    assert once.at_most == pytest.approx(given["max_minutes"] / 1440)
    assert once.booked == once.at_most
    assert gpu_days(CHAPTER, given | {"max_minutes": 0.0}).booked == once.expected
    tuned = gpu_days("02_lora_finetuning", parameters.of_profile("dsri", "02_lora_finetuning"))
    assert 0 < tuned.expected < 1
    assert gpu_days("04_masking_kernels", {}) == GpuDays(None, None, "not known: it has no time limit")
    with pytest.raises(ValueError, match="unknown GPU 'B200'"):
        gpu_days(CHAPTER, given, gpu="B200")
