"""Episodes of the market: recorded, in batches, as Gymnasium and PettingZoo environments."""

from typing import Any


def parallel_env(*args: Any, **options: Any) -> Any:
    """Return the market as a PettingZoo `ParallelEnv`: arguments of `pettingzoo_form.MarketParallelEnv`."""
    from difffinance.simulation.pettingzoo_form import MarketParallelEnv

    return MarketParallelEnv(*args, **options)


def gymnasium_env(*args: Any, **options: Any) -> Any:
    """Return the market as a Gymnasium environment: arguments of `gymnasium_form.MarketGym`."""
    from difffinance.simulation.gymnasium_form import MarketGym

    return MarketGym(*args, **options)


def vector_env(*args: Any, **options: Any) -> Any:
    """Return many markets as one Gymnasium environment: arguments of `gymnasium_form.MarketVectorGym`."""
    from difffinance.simulation.gymnasium_form import MarketVectorGym

    return MarketVectorGym(*args, **options)
