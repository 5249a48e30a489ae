"""What is judged, and what the judged stages left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from oreo_envs.files import read_json, write_json

from oreo_agents.agents.selection import Selection
from oreo_agents.errors import OreoError
from oreo_agents.evaluation.beliefs import Bin
from oreo_agents.evaluation.comparison import Run, Setting
from oreo_agents.evaluation.results import Result
from oreo_agents.experiments.stages import Stage


@dataclass(frozen=True)
class Verdict:
    """A judgement to be made: of which method, trained with which seed, where and how."""

    method: str
    seed: int
    test: str
    selection: Selection
    stage: Stage
    round: int | None = None
    """Of an iterated method, where it is not the last."""
    critic: str | None = None
    """The method whose critic judges, where it is another one's."""

    @property
    def label(self) -> str:
        """The policy and how it chooses."""
        title = self.selection.title
        lent = f", critic of {self.critic}" if self.critic else ""
        return (self.method if title == "greedy" else f"{self.method} {title}") + lent


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judged stage leaves."""

    results: Mapping[int, Result]
    """For each step limit."""
    calibration: tuple[Bin, ...]
    prompt: str | None
    """The fingerprint of the tokenizer."""

    def write(self, folder: Path) -> None:
        """Write it into a stage's folder."""
        results = [{**result.to_json(), "max_steps": limit} for limit, result in self.results.items()]
        calibration = [asdict(one) for one in self.calibration]
        written = {"results": results, "calibration": calibration, "prompt": self.prompt}
        write_json(folder / "result.json", written)

    @classmethod
    def read(cls, folder: Path) -> Judgement:
        """What is in a stage's folder.

        Raises:
            FileNotFoundError: the stage has not been judged.
            OreoError: what is there is damaged.
        """
        file = folder / "result.json"
        try:
            found = read_json(file)
            results = {result["max_steps"]: Result.from_json(result) for result in found["results"]}
            return cls(results, tuple(Bin(**one) for one in found["calibration"]), found["prompt"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OreoError(
                f"{file} is damaged ({error!r}): delete {folder}, and it is judged again"
            ) from error


def read_runs(verdicts: Sequence[Verdict], folder: Path) -> list[Run]:
    """One run per verdict and step limit, for those that were reached."""
    return [run for verdict in verdicts for run in read_verdict(verdict, folder)]


def read_verdict(verdict: Verdict, folder: Path) -> Iterator[Run]:
    """The runs of one verdict, one per step limit; the first has its calibration."""
    try:
        found = Judgement.read(folder / verdict.stage.name)
    except FileNotFoundError:
        return
    calibration = found.calibration
    for limit, result in found.results.items():
        of = Setting(verdict.test, limit, verdict.method, verdict.selection, verdict.round, verdict.critic)
        named = replace(result, method=verdict.label)
        yield Run(of, verdict.seed, found.prompt, named, calibration)
        calibration = ()
