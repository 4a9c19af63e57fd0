"""Speed of the market's forms: batch, Gymnasium plain and vectorised, PettingZoo, step API.

Run as a program: `python tests/benchmarks/bench_environment.py`. One core, CPU time, median of 7 runs after a warm-up.
The reference is the step API with agents that are called one by one, in the same process.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from difffinance.agents.factory import AgentFactory
from difffinance.config import MarketConfig
from difffinance.market.environment import MarketEnvironment
from difffinance.simulation import gymnasium_env, parallel_env, vector_env
from difffinance.simulation.batch import simulate_batch

KINDS = ("market_maker", "speculator", "arbitrageur", "informed")
VENUES = {"us.tier1": {}, "cn.main": {"start_price": 10.0}}  # all rules on
TWENTY = [KINDS[i % 4] for i in range(20)]


def seconds(run: Callable[[], None], rounds: int = 7) -> float:
    """Return the median CPU seconds of `run` after a warm-up."""
    spent = []
    for _ in range(rounds + 1):
        start = time.process_time()
        run()
        spent.append(time.process_time() - start)
    return statistics.median(spent[1:])


def step_api(steps: int) -> Callable[[], None]:
    """Return a run of the step API with twenty agents."""
    env, agents = MarketEnvironment(20, kinds=TWENTY, num_steps=steps), AgentFactory.create_population(TWENTY)

    def run() -> None:
        state, done = env.reset(seed=1), False
        while not done:
            state, _, done, _ = env.step([agent.act(state) for agent in agents])

    return run


def learners(count: int, steps: int) -> Callable[[], None]:
    """Return a run of `count` markets through the vectorised form."""
    env, actions = vector_env(count, num_steps=1000), np.zeros((count, 10))
    env.reset(seed=1)

    def run() -> None:
        for _ in range(steps):
            env.step(actions)

    return run


def plain(steps: int) -> Callable[[], None]:
    """Return a run of the plain Gymnasium form, resets included."""
    env, action = gymnasium_env(num_steps=1000), np.zeros(10)
    env.reset(seed=1)

    def run() -> None:
        for _ in range(steps):
            if env.step(action)[3]:
                env.reset()

    return run


def zoo(steps: int) -> Callable[[], None]:
    """Return a run of the PettingZoo form with five agents."""
    env = parallel_env(5, num_steps=steps)
    actions = {agent: np.zeros(10) for agent in env.possible_agents}

    def run() -> None:
        env.reset(seed=1)
        for _ in range(steps):
            env.step(actions)

    return run


def main() -> None:
    reference = seconds(step_api(200), 3) / 200
    batch = seconds(lambda: simulate_batch(TWENTY, episodes=10, num_steps=1000, seed=1)) / 10
    one, many, all_seats = seconds(plain(2000)) / 2000, seconds(learners(64, 100)) / 6400, seconds(zoo(500)) / 500
    print(
        f"batch: 20 agents x 1000 steps in {batch * 1e3:.1f} ms per episode, {reference * 1000 / batch:.0f} x step API"
    )
    for rulebook, prices in VENUES.items():
        market = MarketConfig(rulebook=rulebook, session_seconds=14400, **prices)
        ruled = seconds(lambda m=market: simulate_batch(TWENTY, market=m, episodes=10, num_steps=1000, seed=1)) / 10
        print(f"batch under {rulebook}: {ruled * 1e3:.1f} ms per episode, {ruled / batch:.2f} x without a rulebook")
    print(f"step API: {20 / reference:,.0f} agent-steps/s, {reference * 1e6:.0f} us per step of 20 agents")
    print(f"Gymnasium: {1 / one:,.0f} steps/s ({reference / one:.1f} x step API of 20 agents)")
    print(f"Gymnasium, 64 markets: {1 / many:,.0f} steps/s ({reference / many:.1f} x step API of 20 agents)")
    print(f"PettingZoo, 5 agents: {1 / all_seats:,.0f} steps/s ({reference / all_seats:.1f} x step API of 20 agents)")


if __name__ == "__main__":
    main()
