import os
import time

import numpy as np
import pytest
from numba.core.errors import TypingError

from difffinance.market import compiled


def test_what_is_compiled_in_names_the_folder(tmp_path, monkeypatch):
    market, agents = tmp_path / "market", tmp_path / "agents"
    market.mkdir(), agents.mkdir()
    monkeypatch.setattr(compiled, "_HERE", market)
    folder, seen = compiled.cache_folder.__wrapped__, set()
    seen.add(folder())
    for path, text in (
        (market / "reasons.py", "HALTED = 22"),
        (market / "reasons.py", "HALTED = 23"),  # a constant, in a file without kernels
        (agents / "maker.py", "@policy_kernel\ndef act(): ..."),
    ):
        path.write_text(text)
        seen.add(folder())
    assert len(seen) == 4
    (agents / "maker.py").with_name("plain.py").write_text("WIDTH = 3")
    assert folder() in seen


def test_folders_of_earlier_sources_go_when_nobody_used_them_for_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "_HERE", tmp_path)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "reasons.py").write_text("HALTED = 22")
    folder = compiled.cache_folder.__wrapped__
    old, recent = (tmp_path / "__pycache__" / f"kernels-{name}" for name in ("old", "recent"))
    old.mkdir(parents=True), recent.mkdir()
    (old / "a.nbi").touch()
    for path, days in ((old, 1.1), (recent, 0.9)):
        os.utime(path, (time.time() - days * 86_400,) * 2)
    first = folder()
    assert not old.exists() and recent.exists() and os.path.isdir(first)
    os.utime(first, (0, 0))
    assert folder() == first and os.path.getmtime(first) > time.time() - 60  # used again


def test_a_first_use_is_known_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "cache_folder", lambda: str(tmp_path))
    assert not compiled.is_compiled("play")
    (tmp_path / "market_0").mkdir()
    (tmp_path / "market_0" / "floor.submit-1.py311.nbi").touch()
    assert not compiled.is_compiled("play")
    (tmp_path / "market_0" / "play.play-1.py311.nbi").touch()
    assert compiled.is_compiled("play")


def test_a_sealed_kernel_stays_one_in_copies():
    import copy

    from difffinance.market.floor import SEALED

    for kernel in SEALED.values():
        assert copy.deepcopy(kernel) is kernel


def test_a_policy_may_make_arrays_and_one_with_an_error_says_so():
    @compiled.policy_kernel
    def halves(state, opponents, constraints, parameters, memory, rng, action):
        parts = np.zeros(len(state))
        parts[:] = state / 2.0
        action[0] = parts.sum()

    action = np.zeros(10)
    halves(*[np.ones(4)] * 5, np.random.default_rng(1), action)
    assert action[0] == 2.0
    with pytest.raises(TypingError, match="nowhere"):

        @compiled.policy_kernel
        def lost(state, opponents, constraints, parameters, memory, rng, action):
            action[0] = nowhere  # noqa: F821
