"""ml-mobileclip's iOS app, Queryable and react-native-executorch: packages and programs as their code opens them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.clients import react_native_executorch
from conaclip_edge.layouts.clients.iphone_apps import write_mobileclip, write_queryable
from conaclip_edge.layouts.mil_shell import MilShell
from conaclip_edge.layouts.source import Source
from conaclip_edge.runtime.executorch_tower import load_program
from conaclip_edge.runtime.mil.program import MilProgram
from conaclip_edge.runtime.open_tower import open_tower
from tests.helpers.layouts.for_phones import sources

Written = dict[str, tuple[Path, Client]]
EOS = 49407
NAMES = {  # packages of pictures and texts, their inputs and outputs
    "mobileclip": (("mobileclip_s0_image", "image", "final_emb_1"), ("mobileclip_s0_text", "text", "final_emb_1")),
    "queryable": (
        ("ImageEncoder_mobileCLIP_s2", "colorImage", "embOutput"),
        ("TextEncoder_mobileCLIP_s2", "input_ids", "text_embeddings"),
    ),
}
WRITE = {"mobileclip": write_mobileclip, "queryable": write_queryable}
TEXT = "two dogs on the beach"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    return sources(tmp_path_factory.mktemp("for-phones"))


@pytest.fixture(scope="module")
def written(made: dict[str, Source], tmp_path_factory: pytest.TempPathFactory) -> Written:
    homes = {name: tmp_path_factory.mktemp(name) for name in WRITE}
    return {name: (homes[name], write(made["coreml"], homes[name])) for name, write in WRITE.items()}


def package(written: Written, name: str, tower: int) -> MilProgram:
    return MilProgram(written[name][0] / f"{NAMES[name][tower][0]}.mlpackage")


@pytest.mark.parametrize("name", NAMES)
def test_a_package_takes_a_picture_and_gives_512_numbers(written: Written, made: dict[str, Source], name: str) -> None:
    program, (_, given, result) = package(written, name, 0), NAMES[name][0]
    assert (program.inputs[given].image, program.inputs[given].shape) == ("RGB", (1, 3, 256, 256))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256), dtype=np.uint8)
    (found,) = program({given: pixels})[result]
    right = open_tower(made["coreml"].image)(pixels.astype(np.float32) / 255)[0]
    np.testing.assert_allclose(found[:16], right, atol=2e-3)
    assert (len(found), found[16:].any()) == (512, False)


def test_a_package_that_takes_pictures_already_is_renamed_alone(written: Written, tmp_path: Path) -> None:
    first = MilShell(written["mobileclip"][0] / "mobileclip_s0_image.mlpackage", tmp_path / "again.mlpackage")
    first.takes_picture("photo")
    first.gives("vector", width=512)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256), dtype=np.uint8)
    (found,) = MilProgram(tmp_path / "again.mlpackage")({"photo": pixels})["vector"]
    np.testing.assert_array_equal(found, package(written, "mobileclip", 0)({"image": pixels})["final_emb_1"][0])


@pytest.mark.parametrize(("name", "dtype"), [("mobileclip", "int32"), ("queryable", "float32")])
def test_a_package_takes_77_ids_filled_up_by_zeros(
    written: Written, made: dict[str, Source], name: str, dtype: str
) -> None:
    program, (_, given, result) = package(written, name, 1), NAMES[name][1]
    assert (program.inputs[given].dtype, program.inputs[given].shape) == (dtype, (1, 77))
    ids = made["coreml"].tokenizer.ids(TEXT)
    row = np.asarray([ids + [0] * (77 - len(ids))])
    (found,) = program({given: row.astype(dtype)})[result]
    right = open_tower(made["coreml"].text)(row.astype(np.int32))[0]
    np.testing.assert_allclose(found[:16], right, atol=1e-6)
    assert (len(found), found[16:].any()) == (512, False)


def test_a_text_that_lost_its_end_gets_one_in_its_last_place(written: Written) -> None:
    program, (_, given, result) = package(written, "queryable", 1), NAMES["queryable"][1]
    cut = np.arange(77, dtype=np.float32)[None]
    ended = cut.copy()
    ended[0, -1] = EOS
    np.testing.assert_array_equal(program({given: cut})[result], program({given: ended})[result])


@pytest.mark.parametrize("name", NAMES)
def test_both_apps_get_ids_by_their_own_rules(written: Written, made: dict[str, Source], name: str) -> None:
    client, own = written[name][1], made["coreml"].tokenizer
    assert client.ids(TEXT)[:9].tolist() == [*own.ids(TEXT), *[0] * 9][:9]
    # Queryable leaves punctuation in its words, the other one splits as CLIP does
    same = client.ids("a dog!")[:5].tolist() == [*own.ids("a dog!"), *[0] * 5][:5]
    assert same == (name == "mobileclip")


@pytest.mark.parametrize("name", NAMES)
def test_a_client_runs_its_packages_and_says_by_what(written: Written, made: dict[str, Source], name: str) -> None:
    client = written[name][1]
    pixels = np.full((3, 256, 256), 200, np.uint8)
    right = open_tower(made["coreml"].image)(pixels[None].astype(np.float32) / 255)[0]
    np.testing.assert_allclose(client.image(pixels)[:16], right, atol=2e-3)
    assert np.linalg.norm(client.text(TEXT)) == pytest.approx(1, abs=1e-2)
    assert any("reference interpreter, on no Apple device" in note for note in client.notes)


@pytest.mark.parametrize("write", WRITE.values())
def test_a_bundle_that_does_not_fit_says_what_to_train(
    made: dict[str, Source], tmp_path: Path, write: Callable[[Source, Path], Client]
) -> None:
    small = made["coreml"].manifest.model_copy(update={"image_size": 96, "vocab_size": 12128})
    with pytest.raises(UserError, match=r"49,408 pieces .* pictures of 256 pixels built in.*student.image.size=256"):
        write(replace(made["coreml"], manifest=small), tmp_path)


def test_a_program_takes_long_ids_and_a_mask(made: dict[str, Source], tmp_path: Path) -> None:
    source = made["executorch"]
    client = react_native_executorch.write(source, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"image.pte", "text.pte", "tokenizer.json"}
    assert (tmp_path / "image.pte").read_bytes() == source.image.read_bytes()
    text, tower = load_program(tmp_path / "text.pte"), open_tower(source.text)
    for length in (2, 5, 77):
        ids = np.asarray([[*range(1, length), EOS]], np.int64)
        np.testing.assert_array_equal(text(ids, np.ones_like(ids)), tower(ids.astype(np.int32)))
    np.testing.assert_array_equal(client.text(TEXT), tower(np.asarray([source.tokenizer.ids(TEXT)], np.int32))[0])
