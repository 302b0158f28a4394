"""`make audit`: secrets in all files that git tracks, and known vulnerabilities of what constraints.txt names.

Fails where one is found. What a service that can't be reached says nothing of is told as not audited, and fails only
with AUDIT=strict.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detect_secrets import SecretsCollection
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).resolve().parent.parent
# Commits, hashes and versions are what these see here.
NO_HELP = {"HexHighEntropyString", "Base64HighEntropyString", "IPPublicDetector"}
NAME_OF_A_VARIABLE = r"^[A-Z]+(_[A-Z]+)+$"  # such as HF_TOKEN: where a secret is kept, not what it is


class HuggingFaceDetector(RegexBasedDetector):
    """Tokens of the Hugging Face hub, which detect-secrets 1.5 does not know."""

    secret_type = "Hugging Face Token"  # pragma: allowlist secret
    denylist = (re.compile(r"\b(?:hf|api_org)_[A-Za-z]{34}\b"),)


def secrets(folder: Path) -> list[str]:
    """What looks like a secret in the tracked files of a repository: file, line and kind, never the secret itself."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=folder, check=True, capture_output=True, text=True).stdout
    kinds = get_mapping_from_secret_type_to_class()  # a table that detect-secrets makes once and looks names up in
    kinds[HuggingFaceDetector.secret_type] = HuggingFaceDetector
    settings = {
        "plugins_used": [{"name": name} for name in sorted({kind.__name__ for kind in kinds.values()} - NO_HELP)],
        "filters_used": [
            {"path": "detect_secrets.filters.allowlist.is_line_allowlisted"},
            {"path": "detect_secrets.filters.regex.should_exclude_secret", "pattern": [NAME_OF_A_VARIABLE]},
        ],
    }
    found = SecretsCollection(root=str(folder))
    with transient_settings(settings):
        for name in filter(None, tracked.split("\0")):
            found.scan_file(name)
    return sorted({f"{name}, line {secret.line_number}: {secret.type}" for name, secret in found})


@dataclass(frozen=True)
class Audit:
    """What pip-audit found: packages with vulnerabilities, how many were looked up, and why others were not."""

    vulnerable: list[str]
    audited: int
    not_audited: list[str]


def read(answer: str, error: str) -> Audit:
    """What pip-audit's JSON says; `error`: what it said beside it. No JSON: nothing was audited."""
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Audit([], 0, [(error.strip().splitlines() or ["pip-audit gave no answer"])[-1]])
    looked_up = [one for one in packages if "skip_reason" not in one]
    vulnerable = [
        f"{one['name']} {one['version']}: {bug['id']}, fixed in {', '.join(bug['fix_versions']) or 'no version yet'}"
        for one in looked_up
        for bug in one["vulns"]
    ]
    return Audit(vulnerable, len(looked_up), [one["skip_reason"] for one in packages if "skip_reason" in one])


def vulnerabilities(constraints: Path) -> Audit:
    """Ask pip-audit's service about the versions in a file."""
    asked = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner=off", "--format=json"]
    done = subprocess.run([*asked, "--requirement", str(constraints)], capture_output=True, text=True)
    return read(done.stdout, done.stderr)


def verdict(found: list[str], audit: Audit, strict: bool) -> tuple[str, bool]:
    """What to print, and whether the check is passed."""
    lines = [f"secret? {one}" for one in found] or ["secrets: none found in tracked files"]
    lines += [f"vulnerable: {one}" for one in audit.vulnerable]
    if audit.audited and not audit.vulnerable:
        lines.append(f"packages: {audit.audited} audited, no known vulnerability")
    if audit.not_audited or not audit.audited:
        first = audit.not_audited[0] if audit.not_audited else "constraints.txt names no package"
        count = len(audit.not_audited) if audit.audited else "all"
        lines.append(f"not audited: {count} packages, so nothing is known of them. The first reason: {first}")
    incomplete = bool(audit.not_audited) or not audit.audited
    passed = not found and not audit.vulnerable and not (strict and incomplete)
    if strict and incomplete:
        lines.append("AUDIT=strict: this fails")
    return "\n".join(lines), passed


def main() -> int:
    """Check this repository. → the exit status."""
    audit = vulnerabilities(ROOT / "constraints.txt")
    told, passed = verdict(secrets(ROOT), audit, os.environ.get("AUDIT") == "strict")
    print(told)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
