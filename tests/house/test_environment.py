"""pyproject.toml, constraints.txt and environment.yml must tell the same story."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [Requirement(r) for r in PROJECT["dependencies"]]
REQUIREMENTS += [Requirement(r) for extra in PROJECT["optional-dependencies"].values() for r in extra]


def name_of(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.fixture(scope="module")
def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name_of(name): Version(version) for name, version in pairs}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_every_requirement_is_ranged_and_its_pin_lies_in_the_range(requirement, pins):
    assert requirement.specifier, f"{requirement.name} has no tested range"
    assert pins[name_of(requirement.name)] in requirement.specifier


def test_no_pin_has_a_local_suffix(pins):
    assert [name for name, version in pins.items() if version.local] == []


def test_environment_file_installs_the_project_at_the_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    python = next(d for d in conda if d.startswith("python=")).split("=")[1]
    assert Version(python) in Requirement("python" + PROJECT["requires-python"]).specifier
    constraint, project = pip["pip"]
    assert constraint == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.\[(.*)\]", project).group(1).split(",")
    assert set(extras) == set(PROJECT["optional-dependencies"])
