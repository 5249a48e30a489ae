"""Choosing a whole solution before its first step is played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import cast

from oreo_envs.math import extract_answer

from oreo_agents.agents.agent import Decision
from oreo_agents.agents.propose import Failed, Infos, Prompts
from oreo_agents.agents.selection import Selection
from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.solution_search import MAX_STEPS, Rule, search_solutions
from oreo_agents.inference.solutions import Solution, Step
from oreo_agents.inference.step_sampler import StepSampler
from oreo_agents.language.chat import Chat
from oreo_agents.trajectory import Action, Candidate


class SolveSteps:
    """Searches for a whole solution and plays it, a step a turn; searches on where it has come to no answer.

    Args:
        sampler: makes the expander of one search, from the conversation so far and a seed.
        chat: of the tokens.
        selection: the rule by which a solution is taken, and ``k`` beams; the other rules have the same budget,
            ``k * k`` solutions.
        slots: episodes at once.
        max_length: tokens an episode may have.
    """

    def __init__(
        self,
        sampler: Callable[[Sequence[int], int], StepSampler],
        chat: Chat,
        selection: Selection,
        slots: int,
        max_length: int,
    ) -> None:
        self.sampler, self.chat, self.max_length = sampler, chat, max_length
        self.rule, self.k = cast(Rule, selection.select), selection.k
        self.logprob_weight = selection.logprob_weight
        self._conversations: list[list[int]] = [[] for _ in range(slots)]
        self._plans: list[list[Step]] = [[] for _ in range(slots)]

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        for slot in slots:
            self._conversations[slot], self._plans[slot] = [], []

    def cut(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Forget what the episodes in ``slots`` hold beyond their first ``lengths`` tokens; plans are void."""
        for slot, length in zip(slots, lengths, strict=True):
            del self._conversations[slot][length:]
            self._plans[slot] = []

    def extend(self, slots: Sequence[int], chunks: Prompts) -> None:
        """Append tokens that were not decided here; plans made before are void."""
        for slot, chunk in zip(slots, chunks, strict=True):
            self._conversations[slot] += chunk
            self._plans[slot] = []

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random], failed: Failed
    ) -> list[Decision]:
        """One decision for each slot; a turn in which one searches bears the cost of all its steps."""
        if any("answer_found" not in info for info in infos):
            raise ConfigurationError(
                f"{self.rule} searches over the steps of a solution, as in OREO-GSM8K, OREO-MATH and OREO-Reasoning; "
                "this environment answers to every action: choose best_of_k or lookahead"
            )
        return [self._decide(*row) for row in zip(slots, prompts, rngs, strict=True)]

    def _decide(self, slot: int, prompt: Sequence[int], rng: Random) -> Decision:
        conversation, plan = self._conversations[slot], self._plans[slot]
        conversation += prompt
        costs, considered = (0, 0, 0), tuple[Candidate, ...]()
        if not plan:
            sampler = self.sampler(conversation, rng.getrandbits(48))
            room = sampler.steps_within(self.max_length)
            found = search_solutions(
                sampler, self.rule, self.k, _find_answer, min(MAX_STEPS, room), self.logprob_weight
            )
            plan += found.best.steps
            costs = (sampler.prompt_tokens, sampler.generated_tokens, sampler.critic_tokens)
            firsts = {solution.steps[0].text: solution.steps[0].value for solution in found.solutions}
            considered = tuple(Candidate(text, value=value) for text, value in firsts.items())
        step = plan.pop(0)
        conversation += step.tokens
        cut = step.tokens[-1:] != (self.chat.end_id,)
        return Decision(
            Action(step.text, step.tokens, value=step.value, candidates=considered, cut=cut), *costs
        )


def _find_answer(solution: Solution) -> str | None:
    return extract_answer(solution.steps[-1].text) if solution.final else None
