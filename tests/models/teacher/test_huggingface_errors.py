"""What a user may get wrong about a teacher ends in one line that says how to mend it, and runs no foreign code."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher import hub as teacher_hub
from conaclip_edge.models.teacher.huggingface import TransformersTeacher
from tests.helpers.models.tiny_teachers import LAYERS, PICTURE

Folder = Callable[[str], Path]


@pytest.fixture(name="copy")
def _copy(family_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CLIP folder that the test may change."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(family_folder("clip"), tmp_path / "clip"))


def refusal(source: Path | str) -> str:
    """The message with which a teacher is refused."""
    with pytest.raises(UserError) as caught:
        TransformersTeacher(str(source))
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text("utf-8")) | values
    file.write_text(json.dumps(content), "utf-8")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.trace),))


def test_weights_are_needed(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert refusal(copy).startswith(f"teacher {copy} has no weights in model.safetensors; ")


def test_pickled_weights_are_not_opened(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save({"weight": Bomb(tmp_path / "exploded")}, copy / "pytorch_model.bin")
    assert "pickled ones (pytorch_model.bin) are not loaded, since they can run code" in refusal(copy)
    assert not (tmp_path / "exploded").exists()


def test_pickled_weights_beside_good_ones_are_not_opened(copy: Path, tmp_path: Path) -> None:
    torch.save({"weight": Bomb(tmp_path / "exploded")}, copy / "pytorch_model.bin")
    TransformersTeacher(str(copy))
    assert not (tmp_path / "exploded").exists()


def test_pickled_weights_do_not_stand_in_for_a_lost_index(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
    torch.save({"weight": Bomb(tmp_path / "exploded")}, copy / "pytorch_model.bin")
    message = refusal(copy)
    assert "cannot use its weights: OSError: Error no file named model.safetensors found" in message
    assert not (tmp_path / "exploded").exists()


def test_the_advised_conversion_of_pickled_weights_works(copy: Path, tmp_path: Path) -> None:
    expected = TransformersTeacher(str(copy)).embed_texts(["a cat"])
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    advice = re.search(r'python -c "(.*)"$', refusal(copy))
    assert advice is not None
    exec(advice[1], {})
    assert torch.equal(TransformersTeacher("teacher").embed_texts(["a cat"]), expected)


def test_the_advised_conversion_reads_numbers_alone(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save({"weight": Bomb(tmp_path / "exploded")}, copy / "pytorch_model.bin")
    advice = re.search(r'python -c "(.*)"$', refusal(copy))
    assert advice is not None
    with pytest.raises(Exception, match=r"(?i)weights.only|unsupported"):
        exec(advice[1], {})
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("code", ["AutoModel", "AutoConfig", "AutoImageProcessor", "AutoTokenizer"])
def test_code_in_a_folder_is_not_run(copy: Path, tmp_path: Path, code: str) -> None:
    (copy / "foreign.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'exploded')!r})\n", "utf-8")
    auto_map = {code: ["foreign.Foreign", None] if code == "AutoTokenizer" else "foreign.Foreign"}
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        change(copy / name, auto_map=auto_map)
    TransformersTeacher(str(copy))
    assert not (tmp_path / "exploded").exists()

    change(copy / "config.json", model_type="foreign")
    assert "model_type 'foreign'" in refusal(copy)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("model_type", ["bert", "llava", "no-such-model", None, 3])
def test_another_model_is_refused_with_the_known_families(copy: Path, model_type: Any) -> None:
    change(copy / "config.json", model_type=model_type)
    assert refusal(copy) == (
        f"teacher {copy} is no dual encoder that transformers knows: its config.json says model_type '{model_type}'. "
        "Known: CLIP, MetaCLIP 2, SigLIP, SigLIP 2, Chinese-CLIP, AltCLIP, VisionTextDualEncoder."
    )


def test_towers_of_two_widths_are_refused(copy: Path) -> None:
    text = {**LAYERS, "vocab_size": 1149, "max_position_embeddings": 16, "projection_size": 48}
    transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=PICTURE)).save_pretrained(copy)
    assert "its texts become 48 numbers, its pictures 32" in refusal(copy)


def test_a_config_is_needed(copy: Path) -> None:
    (copy / "config.json").unlink()
    assert refusal(copy) == f"no teacher config at {copy / 'config.json'}."


@pytest.mark.parametrize("content", ["{", "[]", '"clip"', "\x00"])
def test_a_broken_config_is_refused(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content, "utf-8")
    message = refusal(copy)
    assert "cannot read teacher config" in message or "model_type 'None'" in message


@pytest.mark.parametrize("left", ["", "vocab.json", "merges.txt"])
def test_a_tokenizer_is_needed(copy: Path, left: str) -> None:
    """transformers would make up a tokenizer of a few tokens instead."""
    content = json.loads((copy / "tokenizer.json").read_text("utf-8"))["model"]
    (copy / "tokenizer.json").unlink()
    if left:
        text = json.dumps(content["vocab"]) if left == "vocab.json" else "#version: 0.2\n"
        (copy / left).write_text(text, "utf-8")
    assert refusal(copy) == (
        f"teacher {copy} has no tokenizer: one of tokenizer.json, vocab.txt, vocab.json with merges.txt, or *.model is "
        "needed beside its weights."
    )


def test_a_broken_tokenizer_is_named(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{", "utf-8")
    assert f"teacher {copy}: cannot use its tokenizer: " in refusal(copy)


def test_a_tokenizer_with_more_tokens_than_the_table_is_refused(copy: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(copy)
    tokenizer.add_tokens(["newword"])
    tokenizer.save_pretrained(copy)
    rows = len(tokenizer) - 1
    assert f"its tokenizer has {rows + 1} tokens, its token table only {rows} rows" in refusal(copy)


def test_an_image_processor_is_needed(copy: Path) -> None:
    (copy / "preprocessor_config.json").unlink()
    assert refusal(copy) == (
        f"teacher {copy} has no image processor: preprocessor_config.json is needed beside its weights."
    )


def test_a_broken_image_processor_is_named(copy: Path) -> None:
    (copy / "preprocessor_config.json").write_text("{", "utf-8")
    assert f"teacher {copy}: cannot use its image processor: " in refusal(copy)


def test_a_picture_size_that_the_tower_cannot_take_is_named(copy: Path) -> None:
    change(copy / "preprocessor_config.json", crop_size={"height": 40, "width": 40})
    assert f"teacher {copy}: cannot use its image tower: " in refusal(copy)


def test_cut_off_weights_are_named(copy: Path) -> None:
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    assert f"teacher {copy}: cannot use its weights: " in refusal(copy)


def test_missing_weights_are_not_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "1 weights are missing from its safetensors, such as text_projection.weight." in refusal(copy)


# The hub


@pytest.fixture(name="hub")
def _hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point the hub's client to another address, with an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)

    def point_to(address: str) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return point_to


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(name="served")
def _served(family_folder: Folder) -> Iterator[tuple[str, list[str]]]:
    """A hub on this machine that has one model, `lab/clip`; gives its address and the files that were fetched."""
    files = {path.name: path.read_bytes() for path in family_folder("clip").iterdir()}
    files |= {"pytorch_model.bin": b"bad", "code.py": b"bad", "onnx/spiece.model": b"bad"}
    fetched: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            name = path.partition(f"/lab/clip/resolve/{COMMIT}/")[2]
            if path in ("/api/models/lab/clip", "/api/models/lab/clip/revision/main"):
                self.answer(200, json.dumps({"id": "lab/clip", "sha": COMMIT, "siblings": []}).encode())
            elif path == f"/api/models/lab/clip/tree/{COMMIT}":
                entries = [
                    {"type": "file", "path": name, "size": len(data), "oid": f"{index:040x}"}
                    for index, (name, data) in enumerate(files.items())
                ]
                self.answer(200, json.dumps(entries).encode())
            elif name in files:
                fetched.append(name)
                self.answer(200, files[name], ETag=f'"{list(files).index(name):040x}"', X_Repo_Commit=COMMIT)
            else:
                self.answer(404, b"", X_Error_Code="RepoNotFound")

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", fetched
    server.shutdown()
    server.server_close()


def test_a_hub_name_is_fetched_once_and_then_read_without_the_hub(
    hub: Callable[[str], None], served: tuple[str, list[str]], family_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, fetched = served
    hub(address)
    local = TransformersTeacher(str(family_folder("clip")))
    online = TransformersTeacher("lab/clip")
    assert online.name == "lab/clip"
    assert online.fingerprint == local.fingerprint
    assert torch.equal(online.embed_texts(["a cat"]), local.embed_texts(["a cat"]))
    assert set(fetched) == {path.name for path in family_folder("clip").iterdir()}

    count = len(fetched)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert TransformersTeacher("lab/clip").fingerprint == local.fingerprint
    assert len(fetched) == count


def test_a_name_that_the_hub_does_not_have_is_refused(
    hub: Callable[[str], None], served: tuple[str, list[str]]
) -> None:
    hub(served[0])
    assert refusal("lab/clop").startswith("no teacher 'lab/clop': it is no folder here, and the hub has no such model")


def test_without_network_a_local_folder_is_advised(hub: Callable[[str], None]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hub(f"http://127.0.0.1:{closed.getsockname()[1]}")
        message = refusal("lab/clip")
    assert message.startswith("cannot fetch teacher 'lab/clip': ConnectError: ")
    assert (
        "run 'hf download lab/clip --local-dir teacher' where there is network, copy that folder here and name it."
        in message
    )


def test_in_offline_mode_a_local_folder_is_advised(hub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub("http://127.0.0.1:9")
    assert "offline mode is enabled" in refusal("lab/clip")


def test_a_hub_that_never_answers_is_given_up(hub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_hub, "HUB_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "Timeout" in refusal("lab/clip")


def test_a_name_that_cannot_be_one_is_refused(hub: Callable[[str], None]) -> None:
    hub("http://127.0.0.1:9")
    assert refusal("lab//clip").startswith("cannot fetch teacher 'lab//clip': HFValidationError: ")
