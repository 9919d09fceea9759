"""The documentation site builds without a broken link, and what is generated of it is that of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from conaclip_edge.config.benchmark import BenchmarkConfig, SpeedConfig
from conaclip_edge.config.distill import DistillConfig, TeacherConfig
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.config.study import StudyConfig
from tests.tools.drawings import IMAGES, drawings
from tests.tools.reference import PAGES, models_of, pages

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# README, the first pages and the guides are for readers who do not know the project yet
FIRST = [ROOT / "README.md", *DOCS.glob("*start.md"), DOCS / "index.md", *DOCS.glob("guides/*.md")]
MOST = 4  # figures per 100 words


def test_the_site_builds_and_no_link_is_broken() -> None:
    # zensical builds beside its configuration, into build/site
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_COLOR": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r'= "([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text("utf-8")))
    assert named == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_reference_is_that_of_the_code(name: str) -> None:
    assert (PAGES / name).read_text("utf-8") == pages()[name], "python -m tests.tools.reference makes it"


@pytest.mark.parametrize("name", sorted(drawings()))
def test_the_drawings_are_those_of_the_code(name: str) -> None:
    assert (IMAGES / name).read_text("utf-8") == drawings()[name], "python -m tests.tools.drawings makes it"


@pytest.mark.parametrize(
    "model", [DistillConfig, TeacherConfig, StudyConfig, ExportConfig, BenchmarkConfig, SpeedConfig]
)
def test_every_key_says_what_it_is(model: type[BaseModel]) -> None:
    found = {
        f"{part.__name__}.{name}"
        for part in models_of(model)
        for name, field in part.model_fields.items()
        if not field.description and not isinstance(field.default, BaseModel)
    }
    assert found - {"BenchmarkConfig.gallery", "ImageTowerConfig.stages"} == set()


def test_the_page_on_the_environment_names_every_variable_of_the_package() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "conaclip_edge").rglob("*.py"))
    named = set(re.findall(r"CONACLIP_EDGE_[A-Z]+", source))
    page = (DOCS / "reference" / "environment.md").read_text("utf-8")
    assert named == set(re.findall(r"`(CONACLIP_EDGE_[A-Z]+)`", page))


@pytest.mark.parametrize("page", FIRST, ids=lambda page: page.stem)
def test_a_first_page_has_few_figures(page: Path) -> None:
    text = re.sub(
        r"<!--.*?-->|^```.*?^```|`[^`\n]*`|\]\([^)]*\)|^#.*?$|^\d+\. ", "", page.read_text("utf-8"), flags=re.M | re.S
    )
    words = len(re.findall(r"[A-Za-z]{2,}", text))
    figures = re.findall(r"(?<![\w.-])\d[\d,.]*(?!\w)", text)
    assert len(figures) <= MOST * words / 100, figures
