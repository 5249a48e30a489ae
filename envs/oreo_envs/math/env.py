r"""Math problems as Gymnasium environments: the problem is the first observation, a reasoning step an action.

The step that certainly states a final answer (``#### 18``, ``\boxed{18}``, ``The answer is 18.``) ends the episode; how
that is judged, and how the answer is read, is said in :mod:`oreo_envs.math.grading.extraction`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import gymnasium as gym
from gymnasium.error import InvalidAction, ResetNeeded

from oreo_envs.math.grading.extraction import extract_answer, states_answer
from oreo_envs.math.problems.datasets import load_gsm8k, load_math
from oreo_envs.math.problems.problem import PathLike, Problem, Problems, Split
from oreo_envs.spaces import Text

Granularity = Literal["step", "response"]
TASK_CHARS = 200


class MathState(NamedTuple):
    """A snapshot of an episode."""

    problem: int
    steps: tuple[str, ...]
    status: str
    predicted: str | None
    ended: bool
    won: bool


class MathEnv(gym.Env[str, str]):
    """One math problem an episode, solved step by step or in one response.

    The first observation is the problem, every later one is "": the environment has nothing to add to
    reasoning. The reward is 1.0 on the step that states the right answer, else 0.0; stating any answer
    terminates, a sentence about the answer does not.
    An empty step changes nothing; an empty response is one nevertheless, and ends the episode.
    Every ``info`` has

    - ``task`` (the problem, shortened), ``task_type``, ``game`` (its stable name), ``level``, ``subject``;
    - ``won``, ``answer_found``, ``predicted`` (the answer stated, or None);
    - ``action_status``: "ok", or "unparsable" for an empty step;
    - ``gold``, only after the end: the reference answer;
    - ``expert_plan``, only with ``expert=True``: steps that win from here.

    Args:
        games: the problems.
        granularity: "step", or "response" where the first action is the whole solution.
        expert: add ``expert_plan`` to every info.
        render_mode: "ansi" returns problem and solution so far, "human" prints each as it comes.
    """

    metadata = {"render_modes": ["ansi", "human"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own spelling)

    def __init__(
        self,
        games: Problems,
        granularity: Granularity = "step",
        expert: bool = False,
        render_mode: str | None = None,
    ):
        if granularity not in ("step", "response"):
            raise ValueError(f"granularity={granularity!r} is neither 'step' nor 'response'")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r} is none of {self.metadata['render_modes']}")
        self.games = games
        self.granularity = granularity
        self.expert = expert
        self.render_mode = render_mode
        self.observation_space = Text()
        self.action_space = Text()
        self._problem: Problem | None = None
        self._state: MathState

    @property
    def problem(self) -> Problem:
        """The problem being solved."""
        if self._problem is None:
            raise ResetNeeded("No problem was chosen yet: call reset() first.")
        return self._problem

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Pose a random problem, or the one that ``options`` asks for.

        Args:
            seed: decides which problems come, in this and later episodes.
            options: ``{"problem": row}``, its row in the source counted from 0, or
                ``{"game": name_or_position}``, as in ``env.unwrapped.games``.

        Raises:
            DataNotFoundError: there is no such problem.
        """
        super().reset(seed=seed)
        self.restore_state(MathState(self._choose_row(options or {}), (), "ok", None, False, False))
        self._show(self.problem.question)
        return self.problem.question, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Add a reasoning step to the solution, or state the answer.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over, or none was started.
            gymnasium.error.InvalidAction: the action is not a text.
        """
        if self._problem is None or self._state.ended:
            raise ResetNeeded("The episode is over: call reset() before the next step().")
        if not isinstance(action, str):
            raise InvalidAction(f"An action is a text, a reasoning step; this is a {type(action).__name__}.")
        self._state = self._after(str(action))
        self._show(action)
        return "", float(self._state.won), self._state.ended, False, self._info()

    def render(self) -> str | None:  # type: ignore[override]
        """The problem and the solution so far, in mode "ansi"; mode "human" prints by itself."""
        if self.render_mode != "ansi":
            return None
        return "\n".join([self.problem.question, *self._state.steps])

    def clone_state(self) -> MathState:
        """An exact snapshot of the episode, for search."""
        if self._problem is None:
            raise ResetNeeded("There is no episode to copy: call reset() first.")
        return self._state

    def restore_state(self, state: MathState) -> None:
        """Return to a snapshot of this environment, or of another one over the same problems."""
        self._problem = self.games[state.problem]
        self._state = state

    def _choose_row(self, options: Mapping[str, Any]) -> int:
        if options.get("problem") is not None:
            return self.games.row(options["problem"])
        if options.get("game") is not None:
            return self.games.index(options["game"])
        return int(self.np_random.integers(len(self.games)))

    def _after(self, action: str) -> MathState:
        status = "ok" if action.strip() else "unparsable"
        ended = self.granularity == "response" or states_answer(action)
        predicted = extract_answer(action) if ended else None
        return self._state._replace(
            steps=(*self._state.steps, action) if status == "ok" else self._state.steps,
            status=status,
            predicted=predicted,
            ended=ended,
            won=predicted is not None and self.games.is_right(self.problem, predicted),
        )

    def _info(self) -> dict[str, Any]:
        problem, state = self.problem, self._state
        info = {
            "task": textwrap.shorten(problem.question, TASK_CHARS, placeholder=" ..."),
            "task_type": problem.kind,
            "game": problem.name,
            "level": problem.level,
            "subject": problem.subject,
            "won": state.won,
            "answer_found": state.predicted is not None,
            "predicted": state.predicted,
            "action_status": state.status,
        }
        if state.ended:
            info["gold"] = problem.gold
        if self.expert:
            info["expert_plan"] = self._expert_plan()
        return info

    def _expert_plan(self) -> list[str]:
        """The rest of the worked solution; off its path, only the step that states the answer."""
        solution, done = self.problem.solution, len(self._state.steps)
        if self._state.ended:
            return []
        if self.granularity == "response":
            return ["\n".join(solution)] if solution else []
        return list(solution[done:] if solution[:done] == self._state.steps else solution[-1:])

    def _show(self, text: str) -> None:
        if self.render_mode == "human":
            print(text, flush=True)


class GSM8KEnv(MathEnv):
    """Grade-school word problems (Cobbe et al., 2021), each with a worked solution.

    Args:
        data: a JSONL file or folder; None downloads it (:func:`oreo_envs.math.problems.datasets.load_gsm8k`).
        split: "train" or "test".
        granularity: as for :class:`MathEnv`.
        expert: as for :class:`MathEnv`.
        render_mode: as for :class:`MathEnv`.

    >>> env = gym.make("OREO-GSM8K", data="shared/data/gsm8k", split="test")  # doctest: +SKIP
    >>> problem, info = env.reset(options={"problem": 0})  # doctest: +SKIP
    >>> env.step("9 * 2 = 18")  # doctest: +SKIP
    >>> env.step("#### 18")  # doctest: +SKIP
    """

    def __init__(
        self,
        data: PathLike | None = None,
        split: Split = "train",
        granularity: Granularity = "step",
        expert: bool = False,
        render_mode: str | None = None,
    ):
        super().__init__(load_gsm8k(data, split), granularity, expert, render_mode)


class MATHEnv(MathEnv):
    """Competition problems (Hendrycks et al., 2021) with seven subjects and five levels.

    The arguments are those of :class:`GSM8KEnv`.
    """

    def __init__(
        self,
        data: PathLike | None = None,
        split: Split = "train",
        granularity: Granularity = "step",
        expert: bool = False,
        render_mode: str | None = None,
    ):
        super().__init__(load_math(data, split), granularity, expert, render_mode)


class ReasoningEnv(MathEnv):
    """Procedural problems: any of reasoning-gym's tasks, seeded, with nothing to download.

    Args:
        task: a task of reasoning-gym.
        split: "train", "dev" or "test", which share no seed.
        seed: which problems the task makes; ``reset(seed=...)`` only chooses among them.
        size: how many; by default 10,000 to train on and 1,000 otherwise.
        config: the task's own options, for instance ``{"max_terms": 3}``.
        granularity: as for :class:`MathEnv`.
        expert: as for :class:`MathEnv`.
        render_mode: as for :class:`MathEnv`.

    >>> env = gym.make("OREO-Reasoning", task="chain_sum", split="test")
    >>> problem, info = env.reset(seed=7)
    >>> problem.startswith("State the final answer")
    True
    """

    def __init__(
        self,
        task: str = "gsm_symbolic",
        split: Split = "train",
        seed: int = 0,
        size: int | None = None,
        config: Mapping[str, Any] | None = None,
        granularity: Granularity = "step",
        expert: bool = False,
        render_mode: str | None = None,
    ):
        from oreo_envs.math.problems.procedural import ProceduralProblems

        super().__init__(
            ProceduralProblems(task, split, seed, size, config), granularity, expert, render_mode
        )
