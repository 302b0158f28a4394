"""A real language model behind a real server: SmolLM2 with `transformers serve`."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import medmm_lib.data
from medmm_lib.chat import Server
from medmm_lib.contrastive.text_targets import LanguageModelUnavailable, embedded_files
from medmm_lib.data import llm_questions


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """The address of a server, and the folder that it knows the model by."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    try:
        folder, file = embedded_files()
    except LanguageModelUnavailable as error:
        pytest.skip(str(error))
    model = unpacked(folder, file, tmp_path_factory.mktemp("smollm2"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [shutil.which("transformers", path=Path(sys.executable).parent), "serve", str(model), "--port", str(port)]
    with subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}) as server:
        try:
            wait_for(f"http://localhost:{port}/health", server)
            yield f"http://localhost:{port}/v1", str(model)
        finally:
            server.terminate()


def unpacked(folder, file, to):
    """The model as safetensors: the server reads no GGUF file whose configuration names no architecture."""
    packed = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.bfloat16)
    config = packed.config
    del config.quantization_config
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.load_state_dict(packed.state_dict())
    model.save_pretrained(to)
    AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(to)
    return to


def wait_for(address, server):
    for _ in range(120):
        assert server.poll() is None, "the server ended"
        try:
            return urllib.request.urlopen(address, timeout=5).read()
        except OSError:
            time.sleep(1)
    raise AssertionError(f"{address} did not answer")


@pytest.mark.slow
def test_a_real_model_writes_questions_and_is_not_asked_again(smollm2, tmp_path):
    url, model = smollm2
    data, kept = medmm_lib.data.load("phantom"), tmp_path / "replies.sqlite"
    written = llm_questions.write(data, Server(url, model, max_tokens=80, timeout=300), kept, most=2)
    assert len(written.replies) == 6
    assert all(0 < reply.tokens <= 80 and reply.prompt_tokens > 50 for reply in written.replies)
    assert {reply.finish for reply in written.replies} <= {"stop", "length"}
    assert sum(written.questions.num_rows.values()) + len(written.aside) >= 6
    again = llm_questions.write(data, Server("http://127.0.0.1:9/v1", model, max_tokens=80), kept, most=2)
    assert again.replies == written.replies
