"""What an audit of trials concludes, and what such audits share: the models they run and the cache they may use.

Everything is computed in memory by the code that the Dagster assets call; no service has to be up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mltrainer_pipelines.audits.simulated_market import COST_BPS, AuditMarket
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES, TimeframeName
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.defaults import default_trial
from mltrainer_pipelines.trials.validation.run_in_memory import History, TrialResult, run_in_memory

MODELS = ("logistic_l2", "lightgbm")
"""The core models that audits run, beside the default one."""

Progress = Callable[[str, float], None]
"""Called with what was done, and the share of the whole that is done by now."""


@dataclass(frozen=True)
class AuditResult:
    """Verdict and numbers of one audit: `findings` are what `--json` prints beside `passed`, `lines` the same for a reader."""

    name: Literal["null", "planted", "calibration", "power", "discovery"]
    passed: bool
    findings: dict[str, Any]
    lines: tuple[str, ...]
    seconds: float

    def as_dict(self) -> dict[str, object]:
        return {"passed": self.passed, "market": "simulated", **self.findings, "seconds": round(self.seconds, 1)}

    def text(self) -> str:
        heading = f"{self.name} audit on simulated markets: {'passed' if self.passed else 'FAILED'} in {self.seconds:.0f} s"
        return "\n".join([heading, *(f"  {line}" for line in self.lines)])


def audited_trials() -> list[TrialConfig]:
    """The default trial of each timeframe, and the core models."""
    core = [TrialConfig(model=model, timeframe=timeframe) for timeframe in TIMEFRAMES for model in MODELS]
    return [*(default_trial(timeframe) for timeframe in get_args(TimeframeName)), *core]


def run_trials(configs: Sequence[TrialConfig], market: AuditMarket, history: History, progress: Progress) -> list[TrialResult]:
    """Trials one after the other on a market's history, each scorecard deflated by all of them."""
    progress(f"a market of {market.symbols} companies", 0.0)
    ended: list[str] = []

    def one_more(trial_id: str) -> None:
        ended.append(trial_id)
        progress(trial_id, len(ended) / len(configs))

    return run_in_memory(configs, history, COST_BPS, progress=one_more)
