import pytest

from difffinance.config import PRESETS, Config, load_config
from difffinance.errors import ConfigError


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset):
    assert load_config(preset).seed == 7


def test_default_preset_is_the_defaults_in_code_but_for_what_only_buys_time():
    faster = {"batch_size": 256, "learning_rate": 2e-3}
    code = Config()
    assert load_config("default") == code.model_copy(update={"training": code.training.model_copy(update=faster)})


def test_overrides_come_after_the_preset_and_the_seed_option_last():
    config = load_config("quick", ["training.num_epochs=3", "seed=1", "market.price_limit=none"], seed=9)
    assert (config.training.num_epochs, config.seed, config.market.price_limit) == (3, 9, None)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.num_epoch=3", "Did you mean 'num_epochs'?"),
        ("trainin.num_epochs=3", "Known here: seed, data, market"),
        ("training.num_epochs=many", "valid integer"),
        ("training.validation_fraction=1.5", "less than"),
        ("market.tick_size=nan", "market.tick_size"),
        ("training.num_epochs", "path.to.field=value"),
        ("seed=" + "1" * 5000, "as an integer"),
        ("seed=-1", "greater than or equal to 0"),
        ("market.step_seconds=1e9", "less than or equal to 86400"),  # a step of all memory
        ("market.session_seconds=1e9", "less than or equal to 86400"),
        ("market.reopening_seconds=1e12", "less than or equal to 86400"),
        ("market.flow.limit_rate=1e9", "less than or equal to 10000"),
        ("market.flow.placement_max=100000000", "less than or equal to 100000"),
        ("market.law.volatility=1e300", "less than or equal to 1"),
        ("market.law.volatility=0.1", "is not allowed: market.law belongs to mode 'law'"),
    ],
)
def test_a_wrong_override_is_refused_with_what_is_allowed(override, says):
    with pytest.raises(ConfigError) as refusal:
        load_config("quick", [override])
    assert says in str(refusal.value)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ConfigError, match="quick, default, paper"):
        load_config("huge")


def test_the_tree_is_frozen():
    with pytest.raises(Exception, match="frozen"):
        load_config().training.num_epochs = 3
