"""Importing the package and asking for help must not pull in the heavy libraries."""

import subprocess
import sys

HEAVY = (
    "torch",
    "vectorbt",
    "quantstats",
    "pandas",
    "numba",
    "matplotlib",
    "seaborn",
    "yfinance",
    "polars",
    "arch",
)


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split()) & set(HEAVY)


def test_the_root_package_is_light():
    assert loaded_after("import difffinance") == set()


def test_help_is_light():
    code = (
        "import sys, difffinance.cli as c; sys.argv = ['difffinance', '--help']\ntry: c.main()\nexcept SystemExit: pass"
    )
    assert loaded_after(code) == set()


def test_every_public_name_is_there():
    import difffinance

    for name in difffinance.__all__:
        assert getattr(difffinance, name) is not None
