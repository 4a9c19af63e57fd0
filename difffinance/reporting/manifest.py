"""The manifest beside every report: seed, resolved configuration, versions, data hashes, git revision, seconds."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from difffinance.config import Config
from difffinance.data.store import write_json
from difffinance.records import Manifest

_PACKAGES = (
    "difffinance",
    "numpy",
    "scipy",
    "polars",
    "pandas",
    "pyarrow",
    "numba",
    "torch",
    "arch",
    "vectorbt",
    "vectorbt-rust",
    "quantstats",
    "matplotlib",
    "papermill",
    "yfinance",
)


def make_manifest(config: Config, *, data_hashes: Mapping[str, str], seconds: float) -> Manifest:
    """Return what reproduces a run made with `config` on data of the given SHA-256 hashes."""
    versions = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Manifest(
        seed=config.seed,
        config=config.model_dump(mode="json"),
        versions=versions,
        data_hashes=dict(data_hashes),
        git_revision=git_revision(),
        seconds=seconds,
    )


def write_manifest(manifest: Manifest, path: Path) -> Path:
    """Write a manifest as JSON, atomically."""
    return write_json(path, asdict(manifest))


def git_revision() -> str | None:
    """Return the revision of the source tree this package runs from, with `+changes` if it was edited; or None."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        head = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if changed else "")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
