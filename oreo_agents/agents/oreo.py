"""OreoAgent: a policy that proposes actions and, where there is one, a critic that chooses among them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from oreo_agents.agents import Decision
from oreo_agents.chat import Chat
from oreo_agents.errors import ConfigurationError
from oreo_agents.inference import Engine
from oreo_agents.inference.endpoint import Endpoint, EndpointPolicy
from oreo_agents.inference.generate import CachedCritic, CachedPolicy, Proposals
from oreo_agents.models import (
    Critic,
    best_device,
    fast_bf16,
    load_critic,
    load_policy,
    load_tokenizer,
    save_agent,
)
from oreo_agents.trajectory import Action, Candidate

Select = Literal["greedy", "sample", "best_of_k", "constrained"]
SELECTS: tuple[str, ...] = ("greedy", "sample", "best_of_k", "constrained")

SHIPPED = {"small": Path(__file__).parents[1] / "assets" / "small"}
"""Trained agents that the package carries."""


class OreoAgent:
    """Acts in text environments, one episode or many at once.

    ``best_of_k`` takes the action with the highest V read after it, among the policy's greedy action and
    ``k - 1`` samples (OREO Sec. 4.4, with the value read after the action's last token, not before it);
    so ``k=1`` is greedy. ``constrained`` generates nothing: it takes the likeliest of the commands that the environment
    lists as admissible, which tells the agent more than the others are told.

    >>> agent = OreoAgent.from_pretrained("runs/demo/oreo", select="best_of_k", k=5)   # doctest: +SKIP
    >>> agent.reset()                                                                  # doctest: +SKIP
    >>> observation, reward, terminated, truncated, info = env.step(
    ...     agent.act(observation, info).action)                                       # doctest: +SKIP

    Args:
        policy: causal LM, or the server that has it.
        tokenizer: its tokenizer.
        critic: value network over the same tokens; needed for ``best_of_k``.
        select: how an action is chosen.
        k: candidates per decision.
        logprob_weight: ``best_of_k`` maximises V + this times the candidate's log-probability. 0 is the paper's
            rule; with beta it is the mode of the soft-optimal policy among the candidates (Eq. 3), and a noisy
            critic no longer prefers odd commands for a hair's breadth of value.
        temperature: of the sampling.
        max_new_tokens: an action is cut after this many tokens.
        name: shown in recordings and tables.

    Raises:
        ConfigurationError: unknown ``select``, ``k`` below 1, or ``best_of_k`` without a critic.
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
        if select not in SELECTS:
            raise ConfigurationError(f"unknown select {select!r}; choose one of {', '.join(SELECTS)}")
        if select == "best_of_k" and critic is None:
            raise ConfigurationError(
                "best_of_k needs a critic; this agent has none (train one with --method oreo)"
            )
        if select == "constrained" and isinstance(policy, Endpoint):
            raise ConfigurationError("constrained needs the policy's weights; a server gives text, no scores")
        if k < 1:
            raise ConfigurationError(f"k is {k}, it must be at least 1")
        self.policy = policy if isinstance(policy, Endpoint) else policy.eval()
        self.critic = critic and critic.eval()
        self.chat = Chat(tokenizer)
        self.select, self.k = select, k if select == "best_of_k" else 1
        self.logprob_weight, self.temperature = logprob_weight, temperature
        self.max_new_tokens, self.name = max_new_tokens, name
        self.max_length = _max_length(policy, critic)
        self.tokenizer_fingerprint = self.chat.fingerprint
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
        """A policy behind a server, with the tokenizer and, if there is one, the critic of a local folder.

        Args:
            endpoint: the server.
            path: what :meth:`from_pretrained` takes; the policy's weights are not read.
            options: those of the class, and ``device`` for the critic.

        Raises:
            CheckpointError: there is no tokenizer at ``path``.
        """
        device, critic = options.pop("device", best_device()), load_critic(path)
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

    def reset(self, seed: int = 0) -> None:
        """Start a single episode."""
        self.begin([0], [seed])

    def act(self, observation: str, info: Mapping[str, Any] | None = None) -> Decision:
        """Decide in a single episode; call :meth:`reset` before its first observation."""
        return self.act_many([0], [observation], [info or {}])[0]

    def prepare(self, slots: int) -> None:
        """Make room for ``slots`` episodes at once; forgets all running ones."""
        length, judging = self.max_length, self.select == "best_of_k"
        shared = None
        self._engine: Engine
        if isinstance(self.policy, Endpoint):
            device = next(self.critic.parameters()).device if self.critic else torch.device("cpu")
            self._engine = EndpointPolicy(self.policy, self.chat, slots, self.max_new_tokens, device)
        else:
            shared = self.critic if judging and self.critic and self.critic.shares(self.policy) else None
            self._engine = CachedPolicy(
                self.policy, slots, length, self.chat.end_id, self.max_new_tokens, critic=shared
            )
        self._judge = (
            CachedCritic(self.critic, slots, length) if judging and self.critic and not shared else None
        )
        self._rngs = [random.Random(slot) for slot in range(slots)]
        self._lengths = [0] * slots

    def begin(self, slots: Sequence[int], seeds: Sequence[int]) -> None:
        """New episodes start in ``slots``; their randomness comes from ``seeds`` alone."""
        for slot, seed in zip(slots, seeds, strict=True):
            self._rngs[slot] = random.Random(seed)
            self._lengths[slot] = 0
        self._engine.clear(slots)
        if self._judge:
            self._judge.clear(slots)

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """One decision for each slot's newest observation; it has no action but an end where the context is full."""
        new = self._prompts(slots, observations)
        room = [self.max_length - self._lengths[slot] - self.max_new_tokens for slot in slots]
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
        self._engine.extend(slots, new)
        if self._judge:
            self._judge.extend(slots, new)
        for slot, ids in zip(slots, new, strict=True):
            self._lengths[slot] += len(ids)

    def _decide(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """Decisions where there is room for them."""
        if self.select == "constrained":
            return self._decide_among(slots, prompts, [_admissible(info) for info in infos])
        proposals = self._engine.propose(slots, prompts, self._uniforms(slots), self.temperature)
        values = self._judge.values(slots, prompts, proposals) if self._judge else proposals.values
        lanes = torch.zeros(len(slots), dtype=torch.long) if values is None else self._best(proposals, values)
        self._engine.keep(slots, proposals, lanes)
        if self._judge:
            self._judge.keep(slots, proposals, lanes)
        scores = [[None] * self.k] * len(slots) if values is None else values.tolist()
        rows = zip(proposals.listed(), scores, lanes.tolist(), map(len, prompts), strict=True)
        decisions = [self._decision(*row) for row in rows]
        for row, reason in proposals.errors.items():
            decisions[row] = Decision(Action(""), len(prompts[row]), end=reason, failed=True)
        for slot, prompt, decision in zip(slots, prompts, decisions, strict=True):
            self._lengths[slot] += len(prompt) + len(decision.action.token_ids or ())
        return decisions

    def _decide_among(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]], commands: Sequence[Sequence[str]]
    ) -> list[Decision]:
        """The likeliest of the commands, for each slot."""
        assert isinstance(self._engine, CachedPolicy)
        ids = [[self.chat.action_ids(command) for command in listed] for listed in commands]
        proposals = self._engine.score(slots, prompts, ids)
        sums = proposals.sums().cpu()
        lanes = sums.argmax(1)
        self._engine.keep(slots, proposals, lanes)
        decisions = []
        for row, (slot, lane) in enumerate(zip(slots, lanes.tolist(), strict=True)):
            pairs = zip(commands[row], sums[row].tolist(), strict=False)  # the rest fills the row up
            action = Action(
                commands[row][lane],
                token_ids=tuple(ids[row][lane]),
                logprobs=tuple(proposals.token_logprobs(row, lane)),
                candidates=tuple(Candidate(command, logprob) for command, logprob in pairs),
            )
            read = len(prompts[row]) + int((proposals.tree.ids[row] >= 0).sum())
            decisions.append(Decision(action, prompt_tokens=read))
            self._lengths[slot] += len(prompts[row]) + len(ids[row][lane])
        return decisions

    def _prompts(self, slots: Sequence[int], observations: Sequence[str]) -> list[list[int]]:
        """What each observation adds to its episode."""
        return [
            self.chat.reply(text) if self._lengths[slot] else self.chat.opening(text)
            for slot, text in zip(slots, observations, strict=True)
        ]

    def _best(self, proposals: Proposals, values: Tensor) -> Tensor:
        """The lane of the best candidate, ``[B]``."""
        if self.logprob_weight:
            values = values + self.logprob_weight * proposals.sums().to(values.device)
        return values.argmax(1).cpu()

    def _uniforms(self, slots: Sequence[int]) -> Tensor:
        """Randomness for one decision per slot, ``[B, max_new_tokens, K]``; NaN where the choice is greedy."""
        shape = (len(slots), self.max_new_tokens, self.k)
        if self.select == "greedy":
            return torch.full(shape, torch.nan)
        n = self.max_new_tokens * self.k
        uniforms = torch.tensor([[self._rngs[slot].random() for _ in range(n)] for slot in slots]).reshape(
            shape
        )
        if self.select == "best_of_k":
            uniforms[:, :, 0] = torch.nan
        return uniforms

    def _decision(
        self,
        candidates: Sequence[tuple[tuple[int, ...], tuple[float, ...]]],
        values: Sequence[float | None],
        lane: int,
        prompt: int,
    ) -> Decision:
        """What choosing ``lane`` of a slot's candidates (token ids, log-probabilities) after ``prompt`` tokens is."""
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
        read = prompt + generated if self._judge else len({ids for ids, _ in candidates})
        return Decision(action, prompt, generated, 0 if values[lane] is None else read)


def _max_length(policy: PreTrainedModel | Endpoint, critic: Critic | None) -> int:
    """Tokens an episode may have for both."""
    models = [critic.backbone if critic else None, None if isinstance(policy, Endpoint) else policy]
    lengths = [getattr(model.config, "max_position_embeddings", 4096) for model in models if model]
    return min(lengths, default=1_000_000)  # a server alone says so itself


def _admissible(info: Mapping[str, Any]) -> list[str]:
    commands = list(info.get("admissible_commands") or ())
    if not commands:
        raise ConfigurationError(
            "constrained chooses among info['admissible_commands'], and this environment lists none: "
            "choose another select"
        )
    return commands
