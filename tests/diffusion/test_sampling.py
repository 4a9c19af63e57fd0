"""Samplers against exact answers: Gaussian data has an exact denoiser, and every sampler an exact output law."""

import numpy as np
import pytest
import torch

from difffinance.diffusion import NoiseSchedule, PlanConstraints, sample
from difffinance.errors import InputError

MEAN, VARIANCE = 0.7, 0.09


def exact_denoiser(schedule, mean=MEAN, variance=VARIANCE):
    """The posterior mean of N(mean, variance) data, as noise."""

    def denoise(x, t, conditions):
        level = float(schedule.alphabar[t])
        a, s2 = level**0.5, 1 - level
        clean = mean + a * variance / (level * variance + s2) * (x - a * mean)
        return (x - a * clean) / s2**0.5

    return denoise


def moments_by_recursion(schedule, method, times):
    """Mean and variance of the sampler's output: each step is affine in x (and the last x0) plus noise."""
    alphabar = np.append(schedule.alphabar, 1.0)
    times = [*times, -1]
    # x = p z + q with z the vector of all standard normal draws; keep coefficients on every draw, and the constant
    x, constant = np.eye(1, 1 + len(times)), 0.0
    before = None
    for i, t in enumerate(times[:-1]):
        here, there = alphabar[t], alphabar[times[i + 1]]
        a, s = here**0.5, (1 - here) ** 0.5
        gain = a * VARIANCE / (here * VARIANCE + s**2)
        clean, clean0 = gain * x, MEAN + gain * (constant - a * MEAN)
        if method == "ddim":
            noise, noise0 = (x - a * clean) / s, (constant - a * clean0) / s
            x = there**0.5 * clean + (1 - there) ** 0.5 * noise
            constant = there**0.5 * clean0 + (1 - there) ** 0.5 * noise0
        elif method == "ddpm":
            beta = 1 - here / there
            weights = there**0.5 * beta / (1 - here), (1 - beta) ** 0.5 * (1 - there) / (1 - here)
            x = weights[0] * clean + weights[1] * x
            constant = weights[0] * clean0 + weights[1] * constant
            x[0, i + 1] += (beta * (1 - there) / (1 - here)) ** 0.5
        elif there == 1.0:
            x, constant = clean, clean0
        else:
            lam = [0.5 * np.log(level / (1 - level)) for level in (here, there)]
            h = lam[1] - lam[0]
            d, d0 = clean, clean0
            if before is not None:
                r = (lam[0] - before[2]) / h
                d = (1 + 1 / (2 * r)) * clean - before[0] / (2 * r)
                d0 = (1 + 1 / (2 * r)) * clean0 - before[1] / (2 * r)
            shrink = ((1 - there) / (1 - here)) ** 0.5
            x, constant = (
                shrink * x + there**0.5 * (1 - np.exp(-h)) * d,
                (shrink * constant + there**0.5 * (1 - np.exp(-h)) * d0),
            )
            before = clean, clean0, lam[0]
    return float(constant), float((x**2).sum())


@pytest.mark.parametrize("schedule", [NoiseSchedule.linear(), NoiseSchedule.cosine()], ids=["linear", "cosine"])
@pytest.mark.parametrize("method", ["ddpm", "ddim", "dpmsolver++2m"])
@pytest.mark.parametrize("steps", [1, 5, 10, 25])
def test_sample_moments_match_the_n_step_recursion(schedule, method, steps):
    n = 40_000
    seen = []
    denoise = exact_denoiser(schedule)

    def recording(x, t, conditions):
        seen.append(t)
        return denoise(x, t, conditions)

    x = sample(recording, (n,), schedule=schedule, method=method, steps=steps, rng=np.random.default_rng(steps))
    mean, variance = moments_by_recursion(schedule, method, seen)
    assert len(seen) == steps
    assert abs(x.mean() - mean) < 3 * (variance / n) ** 0.5
    assert abs(x.var() - variance) < 3 * variance * (2 / n) ** 0.5


def test_a_full_length_ddpm_reaches_the_data():
    schedule = NoiseSchedule.linear()
    x = sample(
        exact_denoiser(schedule), (20_000,), schedule=schedule, method="ddpm", steps=1000, rng=np.random.default_rng(0)
    )
    assert abs(x.mean() - MEAN) < 0.01 and x.var() == pytest.approx(VARIANCE, rel=0.05)


@pytest.mark.parametrize(("method", "lowest", "highest"), [("ddim", 0.9, 1.1), ("dpmsolver++2m", 1.8, 2.1)])
@pytest.mark.parametrize("variance", [0.25, 2.0])
def test_order_of_convergence_with_an_exact_denoiser(method, lowest, highest, variance):
    length = 20_000  # so long that rounding times to whole numbers does not show
    schedule = NoiseSchedule.linear(0.1 / length, 20.0 / length, length)
    start = np.random.default_rng(0).standard_normal(2000)
    last = schedule.alphabar[-1]
    exact = MEAN + (variance / (last * variance + 1 - last)) ** 0.5 * (start - last**0.5 * MEAN)
    steps, errors = np.array([20, 40, 80, 160]), []
    for n in steps:
        x = sample(
            exact_denoiser(schedule, variance=variance), (2000,), schedule=schedule, method=method, steps=int(n),
            rng=np.random.default_rng(0),
        )  # fmt: skip
        errors.append(np.sqrt(np.mean((x - exact) ** 2)))
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert lowest <= order <= highest


def test_guidance_gives_the_guided_flow_and_not_the_tilted_density():
    schedule, weight, unconditional, conditional = NoiseSchedule.linear(), 1.0, 1.0, 0.25
    pair = {True: exact_denoiser(schedule, 0.0, conditional), False: exact_denoiser(schedule, 0.0, unconditional)}
    x = sample(
        lambda x, t, c: pair[c is not None](x, t, c), (100_000,), schedule=schedule, method="ddim", steps=500,
        rng=np.random.default_rng(0), conditions="given", guidance=weight,
    )  # fmt: skip
    guided = conditional ** (1 + weight) * unconditional**-weight
    tilted = 1 / ((1 + weight) / conditional - weight / unconditional)
    assert x.var() == pytest.approx(guided, rel=0.04) and abs(x.var() - tilted) > 0.05


def test_torch_generator_gives_tensors_and_numpy_generator_arrays():
    schedule = NoiseSchedule.cosine(100)
    denoise = exact_denoiser(schedule)
    options = {"schedule": schedule, "method": "dpmsolver++2m", "steps": 10}
    one = sample(denoise, (4, 3), rng=torch.Generator().manual_seed(1), **options)
    assert torch.equal(one, sample(denoise, (4, 3), rng=torch.Generator().manual_seed(1), **options))
    two = sample(denoise, (4, 3), rng=np.random.default_rng(1), **options)
    assert isinstance(two, np.ndarray) and two.shape == (4, 3)
    three = sample(lambda x, t, c: torch.as_tensor(denoise(x, t, c)), (4, 3), rng=np.random.default_rng(1), **options)
    np.testing.assert_array_equal(two, three)


def test_constraints_hold_after_the_last_step():
    schedule = NoiseSchedule.linear()
    x = sample(
        exact_denoiser(schedule), (500, 5), schedule=schedule, method="ddim", steps=5, rng=np.random.default_rng(0),
        constraints=PlanConstraints(lower=0.0, prefix_upper=2.0),
    )  # fmt: skip
    assert x.min() >= 0 and np.cumsum(x, axis=1).max() <= 2 + 1e-12


def test_unknown_method_and_generator_are_refused():
    schedule = NoiseSchedule.linear()
    with pytest.raises(InputError, match="dpmsolver"):
        sample(exact_denoiser(schedule), (2,), schedule=schedule, method="euler", steps=5, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="Generator"):
        sample(exact_denoiser(schedule), (2,), schedule=schedule, method="ddim", steps=5, rng=7)


def test_ddim_agrees_with_diffusers_on_the_same_times():
    pytest.importorskip("diffusers", reason="diffusers is an optional oracle")
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    schedule = NoiseSchedule.linear()
    other = DDIMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False,
        set_alpha_to_one=True, timestep_spacing="trailing",
    )  # fmt: skip
    other.set_timesteps(10)
    denoise = exact_denoiser(schedule)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((50,)))
    for t in other.timesteps:
        x = other.step(denoise(x, int(t), None), t, x).prev_sample
    own = sample(denoise, (50,), schedule=schedule, method="ddim", steps=10, rng=np.random.default_rng(0))
    np.testing.assert_allclose(own, x.numpy(), atol=1e-5)
