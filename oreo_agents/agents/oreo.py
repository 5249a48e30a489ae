"""OreoAgent: a policy that proposes actions and, where there is one, a critic that chooses among them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from oreo_envs.math import states_answer
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from oreo_agents.agents.agent import Assignment, Decision
from oreo_agents.agents.constrained import Constrained
from oreo_agents.agents.lookahead import LookAhead
from oreo_agents.agents.propose import Decider, Propose
from oreo_agents.agents.selection import (
    CONSTRAINED,
    RULES,
    WITHOUT_CRITIC,
    Select,
    Selection,
)
from oreo_agents.agents.solve import SolveSteps
from oreo_agents.errors import ConfigurationError
from oreo_agents.inference import Engine
from oreo_agents.inference.endpoint import Endpoint, EndpointPolicy
from oreo_agents.inference.engines import (
    fits_slots,
    make_critic_engine,
    make_policy_engine,
    require_playable,
)
from oreo_agents.inference.step_sampler import StepSampler
from oreo_agents.language.prompt import Chat
from oreo_agents.models.agent_folder import load_critic, load_policy, load_tokenizer, save_agent
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import best_device, context_length, fast_bf16
from oreo_agents.trajectory import Action

_PROPOSING: dict[str, type[Propose]] = {
    "lookahead": LookAhead,
    **dict.fromkeys(CONSTRAINED, Constrained),
}

SHIPPED = {"small": Path(__file__).parents[1] / "assets" / "small"}
"""Trained agents that the package carries."""


class OreoAgent:
    """Acts in text environments, one episode or many at once.

    ``best_of_k`` takes the action with the highest V read after it, among the policy's greedy action and
    ``k - 1`` samples (OREO Sec. 4.4, with the value read after the action's last token, not before it);
    so ``k=1`` is greedy. ``lookahead`` tries the same candidates on the simulator (``info["branch"]``) and takes the
    one with the best outcome, by V after the environment's answer. ``constrained`` generates nothing: it takes the
    likeliest of the commands that the environment lists as admissible, and ``constrained_best_of_k`` of the ``k``
    likeliest the one with the highest V. These three are told more than the others are.

    In the math environments, ``beam`` searches over the steps of a solution with ``k`` beams (Sec. 4.4), and
    ``best_of_n``, ``majority_vote`` and ``value_vote`` choose among ``k * k`` solutions, which is the same budget.

    >>> agent = OreoAgent.from_pretrained("runs/demo/seed-0/oreo", select="best_of_k", k=5)  # doctest: +SKIP
    >>> agent.reset()                                                                  # doctest: +SKIP
    >>> observation, reward, terminated, truncated, info = env.step(
    ...     agent.act(observation, info).action)                                       # doctest: +SKIP

    Args:
        policy: causal LM, or the server that has it.
        tokenizer: its tokenizer.
        critic: value network over the same tokens; needed by all that choose by value.
        select: how an action is chosen.
        k: candidates per decision, or beams.
        logprob_weight: all that choose by value maximise V + this times the candidate's log-probability. 0 is
            the paper's rule; with beta it is the mode of the soft-optimal policy among the candidates (Eq. 3), and a
            noisy critic no longer prefers odd commands for a hair's breadth of value.
        temperature: of the sampling.
        max_new_tokens: an action is cut after this many tokens.
        name: shown in recordings and tables.

    Raises:
        ConfigurationError: unknown ``select``, a number out of range, no critic where one is needed, a server's policy
            where its weights are, or an architecture that would be played wrongly.
    """

    def __init__(
        self,
        policy: PreTrainedModel | Endpoint,
        tokenizer: PreTrainedTokenizerBase,
        critic: Critic | None = None,
        select: Select = "greedy",
        k: int = 5,
        logprob_weight: float = 0.0,
        temperature: float = 1.0,
        max_new_tokens: int = 32,
        name: str = "oreo",
    ) -> None:
        self.selection = Selection(select, k, max_new_tokens, temperature, logprob_weight)
        if self.selection.needs_critic and critic is None:
            raise ConfigurationError(
                f"{select} needs a critic; this agent has none (train one with --method oreo)"
            )
        if self.selection.needs_weights and isinstance(policy, Endpoint):
            raise ConfigurationError(f"{select} needs the policy's weights; a server gives text, no scores")
        if logprob_weight and self.selection.searches and isinstance(policy, Endpoint):
            raise ConfigurationError(
                f"logprob_weight is {logprob_weight}, and a server gives no log-probabilities: leave it at 0"
            )
        self.policy = policy if isinstance(policy, Endpoint) else policy.eval()
        self.critic = critic and critic.eval()
        if not isinstance(policy, Endpoint):
            require_playable(policy)
        self.chat = Chat(tokenizer)
        self.name = name
        self.max_length = _max_length(policy, critic)
        self.tokenizer_fingerprint = self.chat.fingerprint
        self.needs = frozenset({"branch"} if select == "lookahead" else ())
        self.prepare(1)
        self.reset()

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> OreoAgent:
        """Load an agent's folder (policy and, if present, critic), a plain Hugging Face causal LM, or ``small``.

        ``small`` is the agent of 3 million parameters that the package carries. Options are those of the class,
        ``device`` (default: the GPU if there is one) and ``dtype`` (default: as stored, or float32 where the machine
        is slow in bfloat16). In float32 an episode does not depend on how many others are played beside it; in
        bfloat16 a near tie may fall differently.

        Raises:
            CheckpointError: there is no usable checkpoint at ``path``.
        """
        path = SHIPPED.get(str(path), path)
        policy, tokenizer = load_policy(path)
        critic = load_critic(path, policy)
        device, dtype = options.pop("device", best_device()), options.pop("dtype", None)
        dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        for model in (policy, critic and critic.backbone):
            if model is not None and (dtype or not fast_bf16()):
                cast(nn.Module, model).to(dtype or torch.float32)
        options.setdefault("name", Path(path).name)
        return cls(policy.to(device), tokenizer, critic and critic.to(device), **options)

    @classmethod
    def from_endpoint(cls, endpoint: Endpoint, path: str | Path, **options: Any) -> OreoAgent:
        """A policy behind a server, with the tokenizer and, where ``select`` needs one, the critic of a local folder.

        Args:
            endpoint: the server.
            path: what :meth:`from_pretrained` takes; the policy's weights are not read.
            options: those of the class, and ``device`` for the critic.

        Raises:
            CheckpointError: there is no tokenizer at ``path``.
        """
        path = SHIPPED.get(str(path), path)
        device = options.pop("device", best_device())
        critic = None if options.get("select", "greedy") in WITHOUT_CRITIC else load_critic(path)
        options.setdefault("name", Path(path).name)
        return cls(endpoint, load_tokenizer(path), critic and critic.to(device).float(), **options)

    def save_pretrained(self, path: str | Path) -> None:
        """Write policy, tokenizer and critic so that :meth:`from_pretrained` finds them.

        Raises:
            ConfigurationError: the policy is behind a server.
        """
        if isinstance(self.policy, Endpoint):
            raise ConfigurationError(f"the policy at {self.policy.url} is not here to be saved")
        save_agent(path, self.policy, self.chat.tokenizer, self.critic)

    def describe(self) -> str:
        """What decides, by a digest of the weights that does not depend on their type in memory, and how it does."""
        served = isinstance(self.policy, Endpoint)
        models: list[Any] = [
            None if served else self.policy,
            self.critic if self.selection.searches else None,
        ]
        digest = hashlib.sha256()
        for model in filter(None, models):
            for weights in model.parameters():
                digest.update(weights.detach().cpu().float().contiguous().numpy())
        facts = [f"weights {digest.hexdigest()[:16]}"]
        if isinstance(self.policy, Endpoint):
            facts.append(f"model {self.policy.model}")
        how = self.selection
        facts += [f"select {how.select}", f"k {how.candidates}", f"temperature {how.temperature}"]
        facts += [f"logprob_weight {how.logprob_weight}", f"max_new_tokens {how.max_new_tokens}"]
        return ", ".join(facts)

    def reset(self, seed: int = 0) -> None:
        """Start a single episode."""
        self.begin([0], [Assignment(None, seed)])

    def act(self, observation: str, info: Mapping[str, Any] | None = None) -> Decision:
        """Decide in a single episode; call :meth:`reset` before its first observation."""
        return self.act_many([0], [observation], [info or {}])[0]

    def prepare(self, slots: int) -> None:
        """Make room for ``slots`` episodes at once; forgets all running ones."""
        self._decider = self._make_decider(slots)
        self._rngs = [random.Random(slot) for slot in range(slots)]
        self._lengths = [0] * slots

    def begin(self, slots: Sequence[int], assignments: Sequence[Assignment]) -> None:
        """New episodes start in ``slots``; their randomness comes from the seeds of ``assignments`` alone."""
        for slot, assignment in zip(slots, assignments, strict=True):
            self._rngs[slot] = random.Random(assignment.seed)
            self._lengths[slot] = 0
        self._decider.clear(slots)

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """One decision for each slot's newest observation; it has no action but an end where the context is full."""
        new = self._prompts(slots, observations)
        room = [self.max_length - self._lengths[slot] - self.selection.max_new_tokens for slot in slots]
        fits = [i for i, prompt in enumerate(new) if len(prompt) <= room[i]]
        chosen = [slots[i] for i in fits], [new[i] for i in fits], [infos[i] for i in fits]
        decided = iter(self._decide(*chosen) if fits else ())
        full = Decision(Action(""), end=f"the context of {self.max_length} tokens is full")
        return [next(decided) if i in set(fits) else full for i in range(len(slots))]

    def follow(
        self,
        slots: Sequence[int],
        observations: Sequence[str],
        infos: Sequence[Mapping[str, Any]],
        actions: Sequence[str],
    ) -> None:
        """Take in, instead of a decision, the action that someone else chose after each observation."""
        new = [
            [*prompt, *(getattr(action, "token_ids", None) or self.chat.action_ids(action))]
            for prompt, action in zip(self._prompts(slots, observations), actions, strict=True)
        ]
        self._decider.extend(slots, new)
        for slot, ids in zip(slots, new, strict=True):
            self._lengths[slot] += len(ids)

    def _decide(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """Decisions where there is room for them."""
        decisions = self._decider.decide(slots, prompts, infos, [self._rngs[slot] for slot in slots])
        for slot, prompt, decision in zip(slots, prompts, decisions, strict=True):
            self._lengths[slot] += len(prompt) + len(decision.action.token_ids or ())
        return decisions

    def _prompts(self, slots: Sequence[int], observations: Sequence[str]) -> list[list[int]]:
        """What each observation adds to its episode."""
        return [
            self.chat.reply(text) if self._lengths[slot] else self.chat.opening(text)
            for slot, text in zip(slots, observations, strict=True)
        ]

    def _make_decider(self, slots: int) -> Decider:
        selection = self.selection
        if isinstance(self.policy, Endpoint):
            device = next(self.critic.parameters()).device if self.critic else torch.device("cpu")
            remote = EndpointPolicy(self.policy, self.chat, slots, selection.max_new_tokens, device)
            return self._make_proposer(remote, slots, selection.searches)
        if selection.select in RULES:
            return SolveSteps(self._sampler, self.chat, selection, slots, self.max_length)
        alone = (
            selection.searches and selection.select != "lookahead"
        )  # V is read of a candidate without the answer to it
        own = (
            alone and self.critic is not None and self.critic.shares(self.policy) and fits_slots(self.policy)
        )
        engine = make_policy_engine(
            self.policy,
            slots,
            self.max_length,
            self.chat.end_id,
            selection.max_new_tokens,
            critic=self.critic if own else None,
        )
        return self._make_proposer(engine, slots, selection.searches and not own)

    def _make_proposer(self, engine: Engine, slots: int, judging: bool) -> Decider:
        """One candidate or the best of several; ``judging``: by a critic with a cache of its own."""
        judge = make_critic_engine(self.critic, slots, self.max_length) if judging and self.critic else None
        decider = _PROPOSING.get(self.selection.select, Propose)
        return decider(engine, judge, self.chat, self.selection)

    def _sampler(self, conversation: Sequence[int], seed: int) -> StepSampler:
        """Of the steps of one solution."""
        return StepSampler(
            cast(PreTrainedModel, self.policy),
            None if self.selection.select == "majority_vote" else self.critic,
            self.chat,
            conversation,
            is_final=states_answer,
            temperature=self.selection.temperature,
            max_new_tokens=self.selection.max_new_tokens,
            max_length=self.max_length,
            seed=seed,
        )


def _max_length(policy: PreTrainedModel | Endpoint, critic: Critic | None) -> int:
    """Tokens an episode may have for both."""
    models = [critic.backbone if critic else None, None if isinstance(policy, Endpoint) else policy]
    lengths = [context_length(model) for model in models if model]
    return min(lengths, default=1_000_000)  # a server alone says so itself
