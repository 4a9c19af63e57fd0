"""Speed of the market's forms: batch, Gymnasium plain and vectorised, PettingZoo, step API; and of their pieces.

Run as a program: `python tests/benchmarks/bench_environment.py`. One core, CPU time, median of 7 runs after a warm-up.
The reference is the step API with agents that are called one by one, in the same process. An episode's messages are
counted beside it: a step is 10 seconds unless said, in which GOOG's book of 2012-06-21 had 63 messages (147,916 in the
day).
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from difffinance.agents.factory import AgentFactory
from difffinance.config import MarketConfig
from difffinance.market import steps as market_steps
from difffinance.market.book_session import BookSession
from difffinance.market.environment import MarketEnvironment
from difffinance.market.floor import act_all
from difffinance.market.rules import session_rules
from difffinance.market.settlement import EVENTS
from difffinance.market.venue import Venue
from difffinance.simulation import gymnasium_env, parallel_env, vector_env
from difffinance.simulation.batch import simulate_batch

KINDS = ("market_maker", "speculator", "arbitrageur", "informed")
MARKETS = {  # two with all rules on
    "no rulebook": MarketConfig(),
    "no rulebook, fitted flow": MarketConfig(flow_model="fitted"),
    "us.tier1": MarketConfig(rulebook="us.tier1", session_seconds=14400),
    "cn.main": MarketConfig(rulebook="cn.main", session_seconds=14400, start_price=10.0),
    "no rulebook, a step of 1 s": MarketConfig(step_seconds=1.0),
    "us.tier1, a step of 1 s": MarketConfig(rulebook="us.tier1", session_seconds=14400, step_seconds=1.0),
}
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


def messages(market: MarketConfig, steps: int = 200) -> tuple[float, float, float]:
    """Return messages of the background, messages of the twenty seats and trades, per step."""
    env, agents = MarketEnvironment(20, market, kinds=TWENTY, num_steps=steps), AgentFactory.create_population(TWENTY)
    state, counts = env.reset(seed=1), np.zeros(3)
    for _ in range(steps):
        state = env.step([agent.act(state) for agent in agents]).state
        background = int((env.events["owner"] == 20).sum())
        counts += background, len(env.events) - background, len(env.fills)
    return tuple(counts / steps)  # type: ignore[return-value]


def event_seconds(market: MarketConfig) -> float:
    """Return the CPU seconds of one background message, without seats, in memory that was used before."""
    venue, spent = Venue(market, session_rules(market), np.zeros(0), np.zeros(0, np.int64)), []
    for _ in range(8):
        venue.restart()
        venue.make_room(60_000)
        rng = np.random.default_rng(1)
        venue.run_flow(rng, 900.0)
        venue.clear_step()
        start = time.process_time()
        venue.run_flow(rng, 4900.0)
        spent.append((time.process_time() - start) / venue.floor.counts[EVENTS])
    return statistics.median(spent[1:])


def seat_seconds() -> tuple[float, float]:
    """Return the CPU seconds of one seat's view, and of one of its orders: quotes and their cancellations."""
    env = MarketEnvironment(20, kinds=TWENTY, num_steps=1000)
    env.reset(seed=1)
    session: BookSession = env.session
    quotes, turn, valid = np.zeros((20, 10)), np.arange(20), np.ones(20, np.bool_)
    quotes[:, 1:9], quotes[:, 9] = [4.0, 0.1] * 4, 1.0  # four a seat, which cancel those before
    known, spent = np.tile([env.step_volume, session.venue.floor.marks[0]], (20, 1)), []
    views = seconds(lambda: [market_steps.look(session.handle) for _ in range(500)] and None) / 500 / 20
    for _ in range(40):
        session.venue.clear_step()
        session.venue.make_room(10_000)
        start = time.process_time()
        for _ in range(10):
            act_all(session.venue.floor_handle, np.int64(0), quotes, turn, valid, known)
        spent.append((time.process_time() - start) / session.venue.floor.counts[EVENTS])
    return views, statistics.median(spent)


def main() -> None:
    reference = seconds(step_api(200), 3) / 200
    one, many, all_seats = seconds(plain(2000)) / 2000, seconds(learners(64, 100)) / 6400, seconds(zoo(500)) / 500
    for name, market in MARKETS.items():
        rounds = 3 if market.flow_model == "fitted" else 7
        run = (
            seconds(lambda m=market: simulate_batch(TWENTY, market=m, episodes=50, num_steps=1000, seed=1), rounds) / 50
        )
        background, own, trades = messages(market)
        print(f"batch, {name}: {run * 1e3:.1f} ms per episode of 1000 steps, {reference * 1000 / run:.0f} x step API")
        print(
            f"  a step: {background:.0f} messages of the background, {own:.0f} of the seats, {trades:.0f} trades;",
            end="",
        )
        print(f" {run / (background + own) * 1e6:.0f} ns a message, all in")
    for name, market in MARKETS.items():
        if market.step_seconds == 10.0:
            print(f"background alone, {name}: {event_seconds(market) * 1e9:.0f} ns a message")
    view, order = seat_seconds()
    print(f"a seat: {view * 1e9:.0f} ns a view, {order * 1e9:.0f} ns an order or cancellation")
    print(f"step API: {20 / reference:,.0f} agent-steps/s, {reference * 1e6:.0f} us per step of 20 agents")
    print(f"Gymnasium: {1 / one:,.0f} steps/s ({reference / one:.1f} x step API of 20 agents)")
    print(f"Gymnasium, 64 markets: {1 / many:,.0f} steps/s ({reference / many:.1f} x step API of 20 agents)")
    print(f"PettingZoo, 5 agents: {1 / all_seats:,.0f} steps/s ({reference / all_seats:.1f} x step API of 20 agents)")


if __name__ == "__main__":
    main()
