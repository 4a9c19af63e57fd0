import numpy as np
import pytest
import torch

from difffinance.training.learning import energy_distance, gaussian_noise, learning_report


def test_the_network_beats_closed_forms_and_needs_its_conditions(trained, halves):
    report = learning_report(trained, *halves, seed=0)
    own = report["noise_loss_model"]
    for other, share in {"gaussian": 0.93, "gaussian_conditional": 1.0, "shuffled_conditions": 0.6}.items():
        assert own < share * report[f"noise_loss_{other}"], other
    assert report["energy_distance"] < report["energy_distance_shuffled"]
    assert report["first_trade_error"] < 0.5 * report["first_trade_spread"]


def test_gaussian_denoiser_is_the_posterior_mean_and_no_linear_one_is_better():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    mean, covariance = torch.tensor([1.0, -1.0, 0.5]).double(), torch.from_numpy(root @ root.T)
    plans = mean + torch.from_numpy(rng.normal(size=(200_000, 3)) @ root.T)
    noise, level = torch.from_numpy(rng.normal(size=(200_000, 3))), torch.full((1, 1), 0.6).double()
    noisy = 0.6**0.5 * plans + 0.4**0.5 * noise
    guess = gaussian_noise(noisy, level, mean, covariance).double()
    total = 0.6 * covariance + 0.4 * torch.eye(3).double()
    by_hand = 0.4**0.5 * (noisy - 0.6**0.5 * mean) @ torch.linalg.inv(total)
    torch.testing.assert_close(guess, by_hand, atol=1e-5, rtol=1e-5)
    exact = 3 - 0.4 * float(torch.linalg.inv(total).trace())
    assert float((guess - noise).square().sum(1).mean()) == pytest.approx(exact, rel=0.01)


def test_energy_distance_of_shifted_normals_is_the_closed_form():
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.normal(size=(4000, 1)) + m) for m in (0.0, 1.0))
    # E|N(d, 2)| = 2/sqrt(pi) exp(-d^2/4) + d erf(d/2)
    apart = 2 / np.pi**0.5 * np.exp(-0.25) + torch.erf(torch.tensor(0.5)).item()
    assert energy_distance(a, b) == pytest.approx(2 * apart - 4 / np.pi**0.5, abs=0.04)
