import importlib.util
import json
import subprocess

import pytest

from medmm_lib import paths

SPEC = importlib.util.spec_from_file_location("audit", paths.ROOT / ".ci" / "audit.py")
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

# Put together here, so that the scan does not find them in this file.
PLANTED = {
    "Hugging Face Token": "hf" + "_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "AWS Access Key": "AKIA" + "Z7Q2M4X9K3B6T8WD",
    "GitHub Token": "ghp" + "_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "Private Key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "Secret Keyword": "pass" + 'word = "x7Lq-93mZ"',
}


@pytest.fixture
def repository(tmp_path):
    def made(**files):
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        subprocess.run(["git", "-C", tmp_path, "add", "."], check=True)
        return tmp_path

    return made


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_secret_is_found_and_not_shown(repository, kind):
    text = PLANTED[kind] if kind == "Secret Keyword" else f'TOLD = "{PLANTED[kind]}"'
    found = audit.secrets(repository(a=f"x = 1\n{text}\n", b="y = 2\n"))
    assert f"a.py, line 2: {kind}" in found
    assert not any(PLANTED[kind] in line for line in found)
    assert not audit.verdict(found, audit.Audit([], 5, []), False)[1]


def test_hashes_commits_and_names_of_variables_are_no_secrets(repository):
    text = 'COMMIT = "d3bc431576ec8041114806ec3eb58d75adf45029"\nSECRET_KEY = "HF_TOKEN"\n'
    assert audit.secrets(repository(a=text)) == []


def test_what_git_does_not_track_is_not_looked_at(repository):
    folder = repository(a="x = 1\n")
    (folder / "own.env").write_text(PLANTED["GitHub Token"])
    assert audit.secrets(folder) == []


def package(name, **told):
    return {"name": name, "version": "1.0", "vulns": []} | told


BUG = {"id": "PYSEC-1", "fix_versions": ["1.1"], "description": ""}
SKIPPED = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b (1.0)"}


@pytest.mark.parametrize(
    ("packages", "passed", "strictly", "told", "never"),
    [
        ([package("a"), package("b")], True, True, "2 audited, no known vulnerability", "not audited"),
        ([package("a", vulns=[BUG]), package("b")], False, False, "a 1.0: PYSEC-1, fixed in 1.1", "no known"),
        ([SKIPPED, SKIPPED], True, False, "not audited: all packages", "no known vulnerability"),
        ([package("a"), SKIPPED], True, False, "not audited: 1 packages", None),
        ([package("a", vulns=[BUG]), SKIPPED], False, False, "not audited: 1 packages", "no known"),
        ([], True, False, "not audited: all packages", "no known"),
    ],
)
def test_found_none_and_not_audited_are_told_apart(packages, passed, strictly, told, never):
    made = audit.read(json.dumps({"dependencies": packages, "fixes": []}), "No known vulnerabilities found")
    for strict, expected in ((False, passed), (True, strictly)):
        text, good = audit.verdict([], made, strict)
        assert good is expected
        assert told in text
        assert never is None or never not in text


@pytest.mark.parametrize("answer", ["", "no JSON", "[]", '{"error": 1}'])
def test_without_an_answer_nothing_is_audited(answer):
    text, passed = audit.verdict([], audit.read(answer, "WARNING: x\nConnectionError: no route\n"), strict=False)
    assert "not audited: all packages" in text
    assert "ConnectionError: no route" in text
    assert passed
    assert not audit.verdict([], audit.read(answer, ""), strict=True)[1]
