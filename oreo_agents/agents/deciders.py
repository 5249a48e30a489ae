"""Ways to decide, one class for each, over the engines of :mod:`oreo_agents.inference`.

All take token ids of what is new in each slot and give decisions; :class:`oreo_agents.OreoAgent` chooses among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from oreo_envs.math import extract_answer
from torch import Tensor

from oreo_agents.agents import Decision
from oreo_agents.errors import ConfigurationError
from oreo_agents.inference import Engine
from oreo_agents.inference.generate import CachedCritic, CachedPolicy, Proposals
from oreo_agents.inference.search import MAX_STEPS, Rule, Solution, Step, solve
from oreo_agents.inference.steps import StepSampler
from oreo_agents.language.chat import Chat
from oreo_agents.trajectory import Action, Candidate

if TYPE_CHECKING:
    from oreo_envs.wrappers import Branch

Prompts = Sequence[Sequence[int]]
Infos = Sequence[Mapping[str, Any]]


class Decider(Protocol):
    """Decides for episodes in slots."""

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""

    def extend(self, slots: Sequence[int], chunks: Prompts) -> None:
        """Append tokens that were not decided here."""

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random]
    ) -> list[Decision]:
        """One decision for each slot, after appending ``prompts``; its randomness comes from ``rngs``."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the critic thinks of K candidates of B slots, and what that took."""

    values: Tensor | None
    """``[B, K]``."""
    read: Proposals
    """The candidates as the critic has read them."""
    tokens: Sequence[int]
    simulated: Sequence[int]


class Propose:
    """The candidate with the highest V read after it; the only one where there is no critic.

    Args:
        engine: proposes.
        judge: a critic with a cache of its own, if any; the engine may read V, too.
        chat: of the tokens.
        k: candidates.
        greedy: how many of them, the first, are the policy's likeliest action.
        temperature: of the sampling of the others.
        max_new_tokens: a candidate is cut after this many tokens.
        logprob_weight: of a candidate's log-probability, added to V.
    """

    def __init__(
        self,
        engine: Engine,
        judge: CachedCritic | None,
        chat: Chat,
        k: int,
        greedy: int,
        temperature: float,
        max_new_tokens: int,
        logprob_weight: float,
    ) -> None:
        self.engine, self.judge, self.chat = engine, judge, chat
        self.k, self.greedy, self.temperature = k, greedy, temperature
        self.max_new_tokens, self.logprob_weight = max_new_tokens, logprob_weight

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        self.engine.clear(slots)
        if self.judge:
            self.judge.clear(slots)

    def extend(self, slots: Sequence[int], chunks: Prompts) -> None:
        """Append tokens that were not decided here."""
        self.engine.extend(slots, chunks)
        if self.judge:
            self.judge.extend(slots, chunks)

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random]
    ) -> list[Decision]:
        """One decision for each slot."""
        proposals = self.engine.propose(slots, prompts, self._uniforms(rngs), self.temperature)
        verdict = self._judged(slots, prompts, infos, proposals)
        lanes = self._best(proposals, verdict.values)
        self.engine.keep(slots, proposals, lanes)
        if self.judge:
            self.judge.keep(slots, verdict.read, lanes)
        scores = [[None] * self.k] * len(slots) if verdict.values is None else verdict.values.tolist()
        rows = zip(proposals.listed(), scores, lanes.tolist(), prompts, verdict.tokens, strict=True)
        decisions = [self._decision(*row) for row in rows]
        for row, simulated in enumerate(verdict.simulated):
            decisions[row] = replace(decisions[row], simulated_steps=simulated)
        for row, reason in proposals.errors.items():
            decisions[row] = Decision(Action(""), len(prompts[row]), end=reason, failed=True)
        return decisions

    def _judged(self, slots: Sequence[int], prompts: Prompts, infos: Infos, proposals: Proposals) -> _Verdict:
        """V after each candidate."""
        nothing = [0] * len(slots)
        if self.judge:
            values = self.judge.values(slots, prompts, proposals)
            return _Verdict(values, proposals, _read(prompts, proposals), nothing)
        if proposals.values is None:
            return _Verdict(None, proposals, nothing, nothing)
        ends = [len({ids for ids, _ in row}) for row in proposals.listed()]
        return _Verdict(proposals.values, proposals, ends, nothing)

    def _best(self, proposals: Proposals, values: Tensor | None) -> Tensor:
        """The lane of the best candidate, ``[B]``."""
        if values is None:
            return torch.zeros(len(proposals.counts), dtype=torch.long)
        if self.logprob_weight:
            values = values + self.logprob_weight * proposals.sums().to(values.device)
        return values.argmax(1).cpu()

    def _uniforms(self, rngs: Sequence[Random]) -> Tensor:
        """Randomness for one decision per slot, ``[B, max_new_tokens, K]``; NaN where the choice is greedy."""
        shape = (len(rngs), self.max_new_tokens, self.k)
        if self.greedy == self.k:
            return torch.full(shape, torch.nan)
        n = self.max_new_tokens * self.k
        uniforms = torch.tensor([[rng.random() for _ in range(n)] for rng in rngs]).reshape(shape)
        uniforms[:, :, : self.greedy] = torch.nan
        return uniforms

    def _decision(
        self,
        candidates: Sequence[tuple[tuple[int, ...], tuple[float, ...]]],
        values: Sequence[float | None],
        lane: int,
        prompt: Sequence[int],
        critic_tokens: int,
    ) -> Decision:
        """What choosing ``lane`` among a slot's candidates (token ids, log-probabilities) comes to."""
        considered = [
            Candidate(self.chat.action_text(ids), None if isnan(logprobs[0]) else sum(logprobs), value)
            for (ids, logprobs), value in zip(candidates, values, strict=True)
        ]
        ids, logprobs = candidates[lane]
        action = Action(
            considered[lane].action,
            token_ids=ids,
            logprobs=None if isnan(logprobs[0]) else logprobs,
            value=values[lane],
            candidates=tuple(considered) if self.k > 1 else (),
        )
        generated = sum(len(ids) for ids, _ in candidates)
        return Decision(action, len(prompt), generated, critic_tokens)


class LookAhead(Propose):
    """The candidate that leads to the best position, by trying each on the simulator (``info["branch"]``).

    A position is worth the rewards on the way there and, unless the episode is over, V read where the next action would
    begin, after the environment's answer.
    """

    def _judged(self, slots: Sequence[int], prompts: Prompts, infos: Infos, proposals: Proposals) -> _Verdict:
        assert self.judge is not None
        branches = [_branch(info) for info in infos]
        texts = [[self.chat.action_text(ids) for ids, _ in row] for row in proposals.listed()]
        for row in proposals.errors:
            texts[row] = []
        tried = [
            {text: branch.step(text) for text in dict.fromkeys(row)}
            for branch, row in zip(branches, texts, strict=True)
        ]
        led = [
            [leads[text] for text in row] or [branch] * self.k
            for branch, leads, row in zip(branches, tried, texts, strict=True)
        ]
        rooms = [
            room - len(prompt) - self.max_new_tokens
            for room, prompt in zip(self.judge.room(slots), prompts, strict=True)
        ]  # beyond it nothing can be read; the episode will end there
        ahead = proposals.answered(
            [
                [self.chat.reply(branch.observation)[:room] for branch in row]
                for row, room in zip(led, rooms, strict=True)
            ]
        )
        values = self.judge.values(slots, prompts, ahead)
        rewards = values.new_tensor([[branch.reward for branch in row] for row in led])
        ended = torch.tensor([[branch.ended for branch in row] for row in led], device=values.device)
        return _Verdict(
            rewards + values.masked_fill(ended, 0.0),
            replace(ahead, counts=proposals.counts),  # the answer is read again when it is really given
            _read(prompts, ahead),
            list(map(len, tried)),
        )


class Constrained(Propose):
    """Of the ``k`` likeliest commands in ``info["admissible_commands"]`` the one with the highest V; without a critic
    the likeliest. Nothing is generated.
    """

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random]
    ) -> list[Decision]:
        """One decision for each slot."""
        engine = cast(CachedPolicy, self.engine)
        commands = [_admissible(info) for info in infos]
        scored = engine.score(slots, prompts, [[*map(self.chat.action_ids, listed)] for listed in commands])
        finalists = self._likeliest(scored, [*map(len, commands)])
        values: list[dict[int, float]] = [{} for _ in slots]
        read, lanes = [0] * len(slots), torch.zeros(len(slots), dtype=torch.long)
        if self.judge or scored.values is not None:
            proposals = scored.only(finalists)
            verdict = self._judged(slots, prompts, infos, proposals)
            assert verdict.values is not None
            lanes = self._best(proposals, verdict.values)
            rows = zip(finalists.tolist(), verdict.values.tolist(), strict=True)
            values = [dict(zip(*row, strict=True)) for row in rows]
            read = list(verdict.tokens) if self.judge else [*map(len, commands)]
            if self.judge:
                self.judge.keep(slots, verdict.read, lanes)
        taken = finalists.cpu().gather(1, lanes[:, None])[:, 0]
        engine.keep(slots, scored, taken)
        sizes = (scored.tree.ids >= 0).sum(1).tolist()
        columns = commands, scored.listed(), values, taken.tolist()
        return [
            Decision(self._action(*row), len(prompt) + size, critic_tokens=tokens)
            for prompt, size, tokens, *row in zip(prompts, sizes, read, *columns, strict=True)
        ]

    def _likeliest(self, scored: Proposals, counts: Sequence[int]) -> Tensor:
        """The numbers of the K likeliest commands, ``[B, K]``, likeliest first; it again where there are fewer."""
        sums = scored.sums()
        listed = torch.arange(sums.shape[1], device=sums.device) < sums.new_tensor(counts)[:, None]
        order = sums.masked_fill(~listed, -torch.inf).argsort(stable=True, dim=1, descending=True)[
            :, : self.k
        ]
        return torch.where(listed.gather(1, order), order, order[:, :1])

    def _action(
        self,
        commands: Sequence[str],
        scored: Sequence[tuple[tuple[int, ...], tuple[float, ...]]],
        values: Mapping[int, float],
        taken: int,
    ) -> Action:
        """A command, and all that it was chosen among; the critic has read those that have a value."""
        pairs = zip(commands, scored, strict=False)  # the rest fills the row up
        considered = tuple(
            Candidate(command, sum(logprobs), values.get(i))
            for i, (command, (_, logprobs)) in enumerate(pairs)
        )
        return Action(commands[taken], *scored[taken], values.get(taken), considered)


class SolveSteps:
    """Searches for a whole solution and plays it, a step a turn; searches on where it has come to no answer.

    Args:
        sampler: makes the expander of one search, from the conversation so far and a seed.
        chat: of the tokens.
        rule: which solution is taken.
        k: beams; the other rules have the same budget, ``k * k`` solutions.
        slots: episodes at once.
        max_length: tokens an episode may have.
        logprob_weight: of a solution's log-probability, added to V.
    """

    def __init__(
        self,
        sampler: Callable[[Sequence[int], int], StepSampler],
        chat: Chat,
        rule: Rule,
        k: int,
        slots: int,
        max_length: int,
        logprob_weight: float,
    ) -> None:
        self.sampler, self.chat, self.rule, self.k = sampler, chat, rule, k
        self.max_length, self.logprob_weight = max_length, logprob_weight
        self._told: list[list[int]] = [[] for _ in range(slots)]
        self._plans: list[list[Step]] = [[] for _ in range(slots)]

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        for slot in slots:
            self._told[slot], self._plans[slot] = [], []

    def extend(self, slots: Sequence[int], chunks: Prompts) -> None:
        """Append tokens that were not decided here; plans made before are void."""
        for slot, chunk in zip(slots, chunks, strict=True):
            self._told[slot] += chunk
            self._plans[slot] = []

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random]
    ) -> list[Decision]:
        """One decision for each slot; a turn in which one searches bears the cost of all its steps."""
        if any("answer_found" not in info for info in infos):
            raise ConfigurationError(
                f"{self.rule} searches over the steps of a solution, as in OREO-GSM8K, OREO-MATH and OREO-Reasoning; "
                "this environment answers to every action: choose best_of_k or lookahead"
            )
        return [self._decide(*row) for row in zip(slots, prompts, rngs, strict=True)]

    def _decide(self, slot: int, prompt: Sequence[int], rng: Random) -> Decision:
        told, plan = self._told[slot], self._plans[slot]
        told += prompt
        costs, considered = (0, 0, 0), tuple[Candidate, ...]()
        if not plan:
            sampler = self.sampler(told, rng.getrandbits(48))
            room = sampler.steps_within(self.max_length)
            found = solve(sampler, self.rule, self.k, _answer, min(MAX_STEPS, room), self.logprob_weight)
            plan += found.best.steps
            costs = (sampler.prompt_tokens, sampler.generated_tokens, sampler.critic_tokens)
            firsts = {solution.steps[0].text: solution.steps[0].value for solution in found.solutions}
            considered = tuple(Candidate(text, value=value) for text, value in firsts.items())
        step = plan.pop(0)
        told += step.tokens
        return Decision(Action(step.text, step.tokens, value=step.value, candidates=considered), *costs)


def _read(prompts: Prompts, candidates: Proposals) -> list[int]:
    """Tokens that a critic with a cache of its own reads, per slot."""
    return [len(prompt) + n for prompt, n in zip(prompts, candidates.counts.sum(1).tolist(), strict=True)]


def _admissible(info: Mapping[str, Any]) -> list[str]:
    commands = list(info.get("admissible_commands") or ())
    if not commands:
        raise ConfigurationError(
            "a constrained agent chooses among info['admissible_commands'], and this environment lists none: "
            "choose another select"
        )
    return commands


def _branch(info: Mapping[str, Any]) -> Branch:
    if "branch" not in info:
        raise ConfigurationError(
            "lookahead tries actions on info['branch'], and this environment offers none: wrap it in "
            "oreo_envs.wrappers.OfferBranches, or choose best_of_k"
        )
    branch: Branch = info["branch"]
    return branch


def _answer(solution: Solution) -> str | None:
    return extract_answer(solution.steps[-1].text) if solution.final else None
