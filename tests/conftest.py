"""Markers that need something: they skip with the reason where it is missing."""

import os
import shutil
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():  # the Triton kernel runs in its interpreter then, to be asked for before any import
    os.environ.setdefault("TRITON_INTERPRET", "1")

from medmm_lib import paths
from medmm_lib.data import medpix
from medmm_lib.data.loaded import DataError
from tests.chapters import write_chapter
from tests.chat_server import ChatServer

torch.set_num_threads(1)  # a worker a core: with more threads, small models take ten times as long


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run tests that take more than a minute")


def pytest_collection_modifyitems(config, items):
    reasons = {name: reason for name, reason in _missing(config).items() if reason}
    for item in items:
        for name, reason in reasons.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


def _missing(config):
    return {
        "gpu": "" if _has_gpu() else "needs an NVIDIA GPU of compute capability 8.0 or higher",
        "data": "" if _medpix_root() else "needs MedPix 2.0: set MEDMM_DATA to its folder",
        "browser": "" if shutil.which("chromium") else "needs Debian's package chromium",
        "slow": "" if config.getoption("--slow") else "takes more than a minute: run with --slow",
    }


def _has_gpu():
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def _medpix_root():
    root = os.environ.get("MEDMM_DATA")
    try:
        return root and medpix.find(Path(root))
    except DataError:
        return None


@pytest.fixture(scope="session")
def medpix_root():
    """The folder that MEDMM_DATA names; for tests marked `data`."""
    return Path(os.environ["MEDMM_DATA"])


@pytest.fixture
def serve():
    """Starts language model servers that answer with `reply(prompt)`: see `tests.chat_server`."""
    servers = []

    def start(reply, **how):
        servers.append(ChatServer(reply, **how))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two small chapters; the second reads what the first leaves."""
    for name, place in (("NOTEBOOKS", "notebooks"), ("PARAMS", "params"), ("ARTIFACTS", "artifacts")):
        monkeypatch.setattr(paths, name, tmp_path / place)
    monkeypatch.setenv("MEDMM_TEST_PROJECT", str(tmp_path))
    write_chapter(tmp_path, "01_first")
    write_chapter(tmp_path, "02_second", reads=["01_first"])
    return tmp_path
