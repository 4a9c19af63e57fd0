"""The verbs as commands: parse, call one function, print what was read, written, and which verb comes next."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from difffinance import summaries
from difffinance.errors import DiffFinanceError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What will my orders do to the price, and what is then my best way to take part?",
)

What = Annotated[list[str] | None, typer.Argument(metavar="[WHAT]... [path.to.field=value]...", show_default=False)]
Preset = Annotated[str, typer.Option(help="quick, default or paper")]
LakeDir = Annotated[Path | None, typer.Option(help="folder of the data lake; default $DIFFFINANCE_LAKE or data")]
Seed = Annotated[int | None, typer.Option(help="of every random number; default from the preset")]
Json = Annotated[bool, typer.Option("--json", help="print exactly one JSON object on standard output")]
Quiet = Annotated[bool, typer.Option("--quiet", help="say nothing on standard error but errors")]

_at_end = contextlib.ExitStack()  # whatever ends a command, the terminal is as it was before anything is said


class Session:
    """What every verb needs: the words that are not overrides, the configuration, the lake, and a voice."""

    def __init__(
        self, what: list[str] | None, preset: str, lake: Path | None, seed: int | None, as_json: bool, quiet: bool
    ) -> None:
        from difffinance.config import load_config
        from difffinance.data.store import Lake

        words = what or []
        self.words = [w for w in words if "=" not in w or os.path.exists(w)]
        self.overrides = [w for w in words if w not in self.words]
        self.config = load_config(preset, self.overrides, seed=seed)
        self.preset, self.as_json, self.quiet = preset, as_json, quiet
        self.lake = Lake(lake)
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        _at_end.callback(self.close)

    def say(self, text: str) -> None:
        """Print a line for the person at the terminal."""
        if not self.quiet:
            print(text, file=sys.stderr)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Draw a progress bar on a terminal."""
        if self.quiet or not sys.stderr.isatty():
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)
        if done >= total:
            self._bar.remove_task(self._tasks.pop(stage))

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def answer(self, answer: dict[str, Any], summary: Callable[[dict[str, Any]], str], following: str) -> None:
        """Print the answer: JSON on standard output, or a summary and the verb that comes next."""
        from difffinance.data.store import finite

        self.close()
        if self.as_json:
            print(json.dumps(finite(answer), allow_nan=False, ensure_ascii=False))
        else:
            print(summary(finite(answer)))
        if following:
            self.say(f"Next: {following}")


def _one_word(session: Session, verb: str, default: str | None = None) -> str:
    from difffinance.errors import InputError

    if not session.words and default is not None:
        return default
    if len(session.words) != 1:
        given = " ".join(session.words) or "nothing"
        raise InputError(f"{verb} takes one SYMBOL; got {given}. Try: difffinance {verb} SPX.")
    return session.words[0]


def _no_word(session: Session, verb: str) -> None:
    from difffinance.errors import InputError

    if session.words:
        given = " ".join(session.words)
        raise InputError(f"{verb} takes no words but path.to.field=value; got {given}. Try: difffinance {verb} --help.")


@app.command()
def fetch(
    what: What = None,
    start: Annotated[str | None, typer.Option(help="first day, YYYY-MM-DD")] = None,
    end: Annotated[str | None, typer.Option(help="day after the last, YYYY-MM-DD")] = None,
    interval: Annotated[str | None, typer.Option(help="bar length, 1d if not given")] = None,
    symbol: Annotated[str | None, typer.Option(help="name for the tables of a file")] = None,
    kind: Annotated[str | None, typer.Option(help="of a vendor's data, e.g. aggTrades, klines, um/trades")] = None,
    preset: Preset = "default",
    lake: LakeDir = None,
    seed: Seed = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring market data into the lake: fetch sample | SOURCE PATH | yahoo SYMBOL... | binance SYMBOL --kind K."""
    from difffinance.data.fetching import SOURCES, fetch_tables
    from difffinance.errors import InputError

    session = Session(what, preset, lake, seed, as_json, quiet)
    if not session.words:
        raise InputError(f"fetch needs a source. Allowed: {', '.join(SOURCES)}. Try: difffinance fetch sample.")
    source, *names = session.words
    answer = fetch_tables(
        source,
        names,
        lake=session.lake,
        config=session.config.data,
        symbol=symbol,
        kind=kind,
        start=start,
        end=end,
        interval=interval,
        progress=session.progress,
    )
    session.answer(answer, summaries.fetched, _after_fetch(answer["tables"]))


def _after_fetch(tables: list[dict[str, Any]]) -> str:
    """Return what can be done with new tables: bars, an order book, or trades with quotes; else nothing."""
    symbol = tables[0]["symbol"]
    schemas = {table["schema"] for table in tables if table["symbol"] == symbol}
    if "Bars" in schemas:
        return f"difffinance backtest {symbol}"
    return f"difffinance calibrate {symbol}" if "BookEvents" in schemas or {"Trades", "Quotes"} <= schemas else ""


@app.command()
def calibrate(
    what: What = None,
    horizon: Annotated[list[float] | None, typer.Option(help="seconds; may be repeated")] = None,
    against: Annotated[str | None, typer.Option(help="another symbol of the same day: cross-impact")] = None,
    flow: Annotated[bool, typer.Option("--flow", help="fit the background flow of the market too")] = False,
    flow_rounds: Annotated[int, typer.Option(min=0, help="rounds of matching it by simulation, minutes each")] = 0,
    preset: Preset = "default",
    lake: LakeDir = None,
    seed: Seed = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit the impact law on a symbol's order-book day, and say what may be charged; with --flow its background too."""
    from difffinance.calibration.symbol import calibrate_symbol

    session = Session(what, preset, lake, seed, as_json, quiet)
    symbol = _one_word(session, "calibrate")
    answer = calibrate_symbol(
        symbol,
        lake=session.lake,
        config=session.config.calibration,
        horizons=horizon,
        against=against,
        seed=session.config.seed,
        progress=session.progress,
    )
    if flow or flow_rounds:
        from difffinance.simulation.symbol_flow import fit_symbol_flow

        answer["background_flow"] = fit_symbol_flow(
            symbol, lake=session.lake, seed=session.config.seed, rounds=flow_rounds
        )
    session.answer(answer, summaries.calibrated, f"difffinance report {symbol}")


@app.command()
def simulate(
    what: What = None,
    checkpoint: Annotated[Path | None, typer.Option(help="folder of the diffusion agent's checkpoint")] = None,
    num_agents: Annotated[int, typer.Option(help="participants beside the background flow")] = 5,
    num_steps: Annotated[int, typer.Option(help="steps per episode")] = 500,
    episodes: Annotated[int, typer.Option(help="independent episodes")] = 1,
    draws: Annotated[
        int, typer.Option(help="of the cost law of market.symbol (mode law): each kind gets its 95% band")
    ] = 0,
    preset: Preset = "default",
    lake: LakeDir = None,
    seed: Seed = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a market of makers, speculators, arbitrageurs, informed traders and the diffusion agent."""
    from difffinance.simulation.rollout import simulate_market

    session = Session(what, preset, lake, seed, as_json, quiet)
    _no_word(session, "simulate")
    answer = simulate_market(
        market=session.config.market,
        agents=session.config.agents,
        num_agents=num_agents,
        num_steps=num_steps,
        episodes=episodes,
        seed=session.config.seed,
        checkpoint=checkpoint,
        draws=draws,
        calibration=session.config.calibration,
        lake=session.lake,
        progress=session.progress,
    )
    session.answer(answer, summaries.simulated, "difffinance train")


@app.command()
def train(
    what: What = None,
    num_episodes: Annotated[int | None, typer.Option(help="simulated episodes")] = None,
    episode_length: Annotated[int | None, typer.Option(help="bars per episode")] = None,
    batch_size: Annotated[int | None, typer.Option(help="plans per step of the optimiser")] = None,
    num_epochs: Annotated[int | None, typer.Option(help="passes over the plans")] = None,
    resume: Annotated[Path | None, typer.Option(help="folder of a checkpoint to go on from")] = None,
    preset: Preset = "default",
    lake: LakeDir = None,
    seed: Seed = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the diffusion agent on plans for simulated bars."""
    from difffinance.training.agent import train_agent

    sizes = {
        "num_episodes": num_episodes,
        "episode_length": episode_length,
        "batch_size": batch_size,
        "num_epochs": num_epochs,
    }
    overrides = [f"training.{name}={value}" for name, value in sizes.items() if value is not None]
    session = Session([*(what or []), *overrides], preset, lake, seed, as_json, quiet)
    _no_word(session, "train")
    answer = train_agent(
        model=session.config.model,
        training=session.config.training,
        lake=session.lake,
        seed=session.config.seed,
        resume=resume,
        progress=session.progress,
    )
    session.answer(answer, summaries.trained, "difffinance backtest SPX")


@app.command()
def backtest(
    what: What = None,
    strategy: Annotated[str | None, typer.Option(help="signal/executor, e.g. momentum/diffusion")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="folder of the diffusion agent's checkpoint")] = None,
    impact: Annotated[str, typer.Option(help="on or off")] = "on",
    preset: Preset = "default",
    lake: LakeDir = None,
    seed: Seed = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Walk a strategy forward over a symbol's bars with costs and its own impact."""
    from difffinance.backtest.symbol import backtest_symbol
    from difffinance.errors import InputError

    session = Session(what, preset, lake, seed, as_json, quiet)
    if impact not in ("on", "off"):
        raise InputError(f"--impact '{impact}' is not known. Allowed: on, off.")
    symbol = _one_word(session, "backtest")
    answer = backtest_symbol(
        symbol,
        config=session.config,
        lake=session.lake,
        seed=session.config.seed,
        strategy=strategy,
        checkpoint=checkpoint,
        impact=impact == "on",
        progress=session.progress,
    )
    for note in answer["notes"]:
        session.say(note)
    session.answer(answer, summaries.backtested, f"difffinance report {symbol}")


@app.command()
def report(
    what: What = None,
    output: Annotated[Path, typer.Option(help="folder of the reports")] = Path("reports"),
    preset: Preset = "default",
    lake: LakeDir = None,
    seed: Seed = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the report of a symbol: what its trading would have earned, cost, and how much capital it bears."""
    from difffinance.reporting.report import write_report

    session = Session(what, preset, lake, seed, as_json, quiet)
    symbol = _one_word(session, "report", default="SPX")
    answer = write_report(
        symbol,
        preset=session.preset,
        overrides=session.overrides,
        lake=session.lake,
        seed=session.config.seed,
        folder=output,
        say=session.say,
        progress=session.progress,
    )
    session.answer(answer, summaries.reported, "")


def _underscores_to_dashes(arguments: list[str]) -> list[str]:
    """Accept `--num_episodes` for `--num-episodes`, as the first program wrote it."""
    result = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        result.append(name.replace("_", "-") + equals + value if argument.startswith("--") else argument)
    return result


_AGAIN_SECONDS = 3.0  # more than tidying up takes


def _stop(signum: int, frame: Any) -> NoReturn:
    """Leave the command, and try again where that was swallowed: a compiler's callbacks drop exceptions."""
    signal.signal(signal.SIGALRM, lambda *_: _stop(signum, frame))
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    sys.unraisablehook = lambda _: None  # of such callbacks, which would print a traceback
    raise SystemExit(128 + signum)


def _flush_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command line; exit 0 done, 2 wrong input or surroundings, 1 a defect, 130 or 143 stopped."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # small matrices: more threads only wait for each other, up to 30 times longer
    try:
        with _at_end:
            code = app(args=_underscores_to_dashes(sys.argv[1:]), standalone_mode=False) or 0
    except DiffFinanceError as error:
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except SystemExit as stop:  # of `_stop`: the option parser raises errors of its own
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        print("Stopped. Nothing was left half-written.", file=sys.stderr)
        code = stop.code
    except BrokenPipeError:
        _flush_nowhere()
        code = 0
    except Exception as error:
        code = _option_error(error)
    sys.exit(code)


def _option_error(error: Exception) -> int:
    """Print what typer's option parser found wrong, or let a defect show its traceback."""
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()
        return 2
    if isinstance(error, OSError):
        print(f"Error: {error}", file=sys.stderr)
        return 2
    raise error
