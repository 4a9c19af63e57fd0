import numpy as np
import pytest
from planted_worlds import plant

from difffinance.calibration import fit_impact_law
from difffinance.calibration.criticism import compare_shapes
from difffinance.calibration.draws import draw_parameters
from difffinance.calibration.likelihood import prepare
from difffinance.calibration.maximum import fit_noise_model
from difffinance.errors import RefusedFit


@pytest.mark.parametrize(("gamma", "best"), [(0.5, "square_root"), (1.0, "linear"), (0.0, "constant")])
def test_the_planted_shape_wins_and_the_power_law_is_with_it(gamma, best):
    world = plant("gaussian", np.random.default_rng(1), gamma=gamma, snr=0.4)
    sample = prepare(world.quantity, world.price_change)
    found = compare_shapes(sample, fit_noise_model(sample, "gaussian"), folds=5)
    rivals = {name: r2 for name, r2 in found.items() if name != "power"}
    assert rivals[best] > max(rivals.values()) - 0.002
    assert found["power"] == pytest.approx(rivals[best], abs=0.005)
    assert found[best] == pytest.approx(0.4 / 1.4, abs=0.04)
    assert found["no_impact"] == 0.0


def test_prediction_is_that_of_a_plain_loop():
    world = plant("gaussian", np.random.default_rng(2), n=200, snr=0.4)
    x, y = np.sign(world.quantity) * np.sqrt(np.abs(world.quantity)), world.price_change
    error = 0.0
    for k in range(4):
        held = np.arange(200) // 50 == k
        slope = np.linalg.lstsq(x[~held, None], y[~held], rcond=None)[0][0]
        error += np.sum((y[held] - slope * x[held]) ** 2)
    sample = prepare(world.quantity, y)
    found = compare_shapes(sample, fit_noise_model(sample, "gaussian"), folds=4)["square_root"]
    assert found == pytest.approx(1 - error / (y @ y))


def test_draws_have_the_errors_and_the_correlation_of_the_fit():
    world = plant("gaussian", np.random.default_rng(3), snr=0.3)
    for sign in (1, -1):
        fit = fit_impact_law(world.quantity, sign * world.price_change)
        lam, gamma = draw_parameters(fit, np.random.default_rng(4), 20_000).T
        assert gamma.mean() == pytest.approx(fit.gamma, abs=0.02 * fit.gamma_se)
        assert gamma.std() == pytest.approx(fit.gamma_se, rel=0.03)
        assert np.log(abs(lam)).std() == pytest.approx(fit.lam_se / abs(fit.lam), rel=0.03)
        assert np.corrcoef(np.log(abs(lam)) * sign, gamma)[0, 1] == pytest.approx(fit.lam_gamma_corr, abs=0.02)
        assert (np.sign(lam) == sign).all()
    nothing = plant("gaussian", np.random.default_rng(5), lam=0.0, n=400)
    with pytest.raises(RefusedFit, match="nothing to draw"):
        draw_parameters(fit_impact_law(nothing.quantity, nothing.price_change), np.random.default_rng(0), 3)
