"""Steps of a solution from a policy, with values from a critic; :mod:`oreo_agents.inference.solutions` searches them.

Every step is one turn of the conversation, as in the math environments with ``granularity="step"``: the policy is
shown the problem, then after each of its own steps the environment's answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from oreo_agents.inference.engines import fits_slots, make_critic_engine, make_policy_engine
from oreo_agents.inference.filters import Filters
from oreo_agents.inference.sampling import ALL
from oreo_agents.inference.solutions import Solution, Step
from oreo_agents.language.chat import Chat
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import context_length


class StepSampler:
    """Samples next steps of one problem; an :class:`~oreo_agents.inference.solutions.Expander`.

    All partial solutions of a round are read in one batch, their samples share what they begin with, and V is read
    after the whole step, end of turn included; on the policy's trunk that takes the steps' last tokens alone.

    ``prompt_tokens``, ``generated_tokens`` and ``critic_tokens`` count what it has cost so far; every candidate
    counts in full.

    Args:
        policy: causal LM.
        critic: value network over the same tokens; steps have no value without one.
        chat: of their tokenizer.
        conversation: the conversation so far, up to where the next step begins: token ids.
        is_final: whether a step ends the solution, e.g. by giving an answer.
        reply: the environment's answer to a step that does not.
        temperature: of the sampling.
        max_new_tokens: a step is cut after this many tokens; a cut step is never final.
        max_length: tokens a solution may have, at most what the policy reads.
        seed: of the sampling.
        filters: which tokens may be drawn.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        critic: Critic | None,
        chat: Chat,
        conversation: Sequence[int],
        is_final: Callable[[str], bool],
        reply: str = "",
        temperature: float = 1.0,
        max_new_tokens: int = 128,
        max_length: int | None = None,
        seed: int = 0,
        filters: Filters = ALL,
    ) -> None:
        self.policy, self.critic, self.chat, self.conversation = policy, critic, chat, tuple(conversation)
        self.is_final, self.reply = is_final, chat.reply(chat.prompt.message(reply))
        self.prompt_tokens = self.generated_tokens = self.critic_tokens = 0
        self.temperature, self.filters, self.max_new_tokens = temperature, filters, max_new_tokens
        self.max_length = min(max_length or 1_000_000, context_length(policy))
        self._random = random.Random(seed)

    def expand(self, solutions: Sequence[Solution], n: int) -> list[list[Step]]:
        """``n`` sampled next steps of each; equal ones may be among them."""
        slots, prompts = (
            range(len(solutions)),
            [self._extend_conversation(solution) for solution in solutions],
        )
        end_id, longest = self.chat.end_id, self.max_length
        shared = self.critic is not None and self.critic.shares(self.policy) and fits_slots(self.policy)
        own = self.critic if shared else None
        engine = make_policy_engine(self.policy, len(slots), longest, end_id, self.max_new_tokens, critic=own)
        shape = (len(slots), self.max_new_tokens, n)
        generator = torch.Generator().manual_seed(self._random.getrandbits(48))
        uniforms = torch.rand(shape, generator=generator)
        proposals = engine.propose(slots, prompts, uniforms, self.temperature, self.filters)
        values = proposals.values
        if self.critic is not None and values is None:
            values = make_critic_engine(self.critic, len(slots), longest).values(slots, prompts, proposals)
        self._count(sum(map(len, prompts)), int(proposals.counts.sum()), len(slots) * n if own else None)
        scores = [[None] * n for _ in slots] if values is None else values.tolist()
        rows = zip(proposals.listed(), scores, strict=True)
        return [
            [self._step(ids, sum(logprobs), value) for (ids, logprobs), value in zip(*row, strict=True)]
            for row in rows
        ]

    def steps_within(self, length: int) -> int:
        """How many further steps surely fit into a context of ``length`` tokens, at least one."""
        return max(1, (length - len(self.conversation)) // (self.max_new_tokens + len(self.reply)))

    def _count(self, prompt: int, generated: int, ends: int | None) -> None:
        """Add to the costs; ``ends``: candidates, where the critic reads no more than their last tokens."""
        self.prompt_tokens += prompt
        self.generated_tokens += generated
        if self.critic is not None:
            self.critic_tokens += prompt + generated if ends is None else ends

    def _step(self, ids: tuple[int, ...], logprob: float, value: float | None) -> Step:
        text = self.chat.action_text(ids)
        whole = ids[-1] == self.chat.end_id
        return Step(text, value, whole and self.is_final(text), logprob, ids)

    def _extend_conversation(self, solution: Solution) -> list[int]:
        """The conversation up to the next step."""
        ids = list(self.conversation)
        for step in solution.steps:
            ids += [*step.tokens, *self.reply]
        return ids
