"""OreoAgent: a policy that proposes actions and, where there is one, a critic that chooses among them."""

from __future__ import annotations

import hashlib
import logging
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, cast

import torch
from oreo_envs.math import states_answer
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from oreo_agents.agents.agent import Assignment, Decision
from oreo_agents.agents.constrained import Constrained
from oreo_agents.agents.failures import Failures
from oreo_agents.agents.lookahead import LookAhead
from oreo_agents.agents.propose import Decider, Propose
from oreo_agents.agents.selection import (
    CONSTRAINED,
    LOGPROB_WEIGHT,
    RULES,
    TEMPERATURE,
    WITHOUT_CRITIC,
    Select,
    Selection,
)
from oreo_agents.agents.solve import SolveSteps
from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.inference import Engine
from oreo_agents.inference.endpoint import Endpoint
from oreo_agents.inference.engines import (
    fits_slots,
    make_critic_engine,
    make_policy_engine,
    require_playable,
)
from oreo_agents.inference.filters import read_filters
from oreo_agents.inference.served_policy import OneAtATime, ServedPolicy
from oreo_agents.inference.step_sampler import StepSampler
from oreo_agents.inference.vllm_policy import VllmModel, VllmPolicy
from oreo_agents.language.chat import Chat, Conversation
from oreo_agents.language.prompt import Prompt, as_prompt
from oreo_agents.models.agent_card import choose_prompt, read_choice, read_environments
from oreo_agents.models.agent_folder import load_critic, load_policy, load_tokenizer, save_agent
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import best_device, context_length
from oreo_agents.models.model_files import local_folder
from oreo_agents.models.recipe import explain_doubt
from oreo_agents.models.return_scale import ReturnScale
from oreo_agents.models.trust import trusting_code
from oreo_agents.trajectory import Action

_PROPOSING: dict[str, type[Propose]] = {
    "lookahead": LookAhead,
    **dict.fromkeys(CONSTRAINED, Constrained),
}


class AgentOptions(TypedDict, total=False):
    """Options of :meth:`OreoAgent.from_pretrained`; the class says what they mean."""

    select: Select
    k: int
    logprob_weight: float | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    torch_compile_backend: str | None
    max_new_tokens: int
    name: str
    no_repeat: bool
    prompt: Prompt | Mapping[str, Any] | str | Path | None
    critic: Critic | str | Path | None
    engine: Literal["vllm"] | None
    engine_options: Mapping[str, Any]
    device: str | torch.device
    dtype: str | torch.dtype | None
    trust_remote_code: bool
    env_id: str


class OreoAgent:
    """Acts in text environments, one episode or many at once.

    ``best_of_k`` takes the action with the highest V + ``logprob_weight`` * log-probability, V read after it, among the
    policy's greedy action and ``k - 1`` samples (OREO Sec. 4.4, with the value read after the action's last token, not
    before it); so ``k=1`` is greedy. ``lookahead`` tries the same candidates on the simulator (``info["branch"]``) and
    takes the one with the best outcome, by V after the environment's answer. ``constrained`` takes
    the likeliest of the commands that the environment lists as admissible, after the likeliest thought where the
    prompt's form has a place for one (``react``, ``think``, ``json``, one's own that ``writes`` a ``{thought}``; else,
    and in the form ``any``, nothing is generated), and ``constrained_best_of_k`` of the
    ``k`` likeliest the one with the highest V. These three are told more than the others are.

    In the math environments, ``beam`` searches over the steps of a solution with ``k`` beams (Sec. 4.4), and
    ``best_of_n``, ``majority_vote`` and ``value_vote`` choose among ``k * k`` solutions, which is the same budget.

    >>> agent = OreoAgent.from_pretrained("runs/demo/seed-0/oreo", select="best_of_k", k=5)  # doctest: +SKIP
    >>> agent.reset()                                                                  # doctest: +SKIP
    >>> observation, reward, terminated, truncated, info = env.step(
    ...     agent.act(observation, info).action)                                       # doctest: +SKIP

    Args:
        policy: causal LM, or the server that has it, or vLLM in this process.
        tokenizer: its tokenizer.
        critic: value network over the same tokens; needed by all that choose by value.
        select: how an action is chosen.
        k: candidates per decision, or beams.
        logprob_weight: all that choose by value maximise V + this times the candidate's log-probability. 0 is
            the paper's rule; with beta it is the mode of the soft-optimal policy among the candidates (Eq. 3), and a
            noisy critic no longer prefers odd commands for a hair's breadth of value. None: 0.03, the beta that is
            trained with, and 0 for a server's policy, which has no log-probabilities.
        temperature: of the sampling; None: 1.
        max_new_tokens: an action is cut after this many tokens.
        name: shown in recordings and tables.
        prompt: what it is told beside its observations and how it answers, by value, name or file.
        no_repeat: commands that have failed since the last one that worked are not chosen again, as long as there are
            others (see :class:`oreo_agents.agents.failures.Failures`). Searches leave them out of their candidates.
            ``greedy`` and ``sample`` look further only where something has failed: ``greedy`` then takes the likeliest
            of its own command and ``k - 1`` samples, ``sample`` the first of ``k`` samples that has not.
        top_p: only the fewest likeliest tokens that have this much probability together are drawn; None: what the
            model's ``generation_config`` says, if it is one to be sampled (``do_sample``), else 1, all; of a server's
            policy 1. What is recorded then has log-probabilities of both distributions.
        top_k: only so many likeliest tokens; None: likewise, else 0, all.
        min_p: only tokens with at least this share of the likeliest one's probability; None: likewise, else 0, all.
        torch_compile_backend: one of torch.compile's, such as ``inductor``: the steps of decoding are compiled, and on
            a GPU recorded as CUDA graphs; the first decisions take longer. None: nothing is compiled.

    Raises:
        ConfigurationError: unknown ``select``, a number out of range, no critic where one is needed, a server's policy
            where its weights are, or an architecture that would be played wrongly.
    """

    def __init__(
        self,
        policy: PreTrainedModel | Endpoint | VllmModel,
        tokenizer: PreTrainedTokenizerBase,
        critic: Critic | None = None,
        select: Select = "greedy",
        k: int = 5,
        logprob_weight: float | None = None,
        temperature: float | None = None,
        max_new_tokens: int = 32,
        name: str = "oreo",
        prompt: Prompt | Mapping[str, Any] | str | Path | None = None,
        no_repeat: bool = False,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        torch_compile_backend: str | None = None,
    ) -> None:
        self._vllm = policy if isinstance(policy, VllmModel) else None
        policy = policy.weights if isinstance(policy, VllmModel) else policy
        if logprob_weight is None:
            logprob_weight = 0.0 if isinstance(policy, Endpoint) else LOGPROB_WEIGHT
        temperature = TEMPERATURE if temperature is None else temperature
        asked = {"top_p": top_p, "top_k": top_k, "min_p": min_p}
        filters: dict[str, Any] = read_filters(getattr(policy, "generation_config", None))
        filters |= {name: x for name, x in asked.items() if x is not None}
        self.selection = Selection(
            select, k, max_new_tokens, temperature, logprob_weight, no_repeat, **filters
        )
        if self.selection.needs_critic and critic is None:
            raise ConfigurationError(
                f"{select} needs a critic; this agent has none (train one with --method oreo)"
            )
        if self.selection.needs_weights and isinstance(policy, Endpoint):
            raise ConfigurationError(f"{select} needs the policy's weights; a server gives text, no scores")
        if self.selection.needs_weights and self._vllm:
            raise ConfigurationError(f"{select} needs the policy's weights in slots: leave engine='vllm' out")
        if logprob_weight and self.selection.weighs and isinstance(policy, Endpoint):
            raise ConfigurationError(
                f"logprob_weight is {logprob_weight}, and a server gives no log-probabilities: leave it at 0"
            )
        self.policy = policy if isinstance(policy, Endpoint) else policy.eval()
        self.critic = critic and critic.eval()
        if not isinstance(policy, Endpoint) and self._vllm is None:
            require_playable(policy)
        elsewhere = isinstance(policy, Endpoint) or self._vllm or select in RULES
        if torch_compile_backend and (elsewhere or not fits_slots(cast(PreTrainedModel, policy))):
            raise ConfigurationError(
                "torch_compile_backend compiles decoding in slots, in which this agent does not play: leave it out"
            )
        self._compile_backend = torch_compile_backend
        self.prompt = as_prompt(prompt)
        self.chat = Chat(tokenizer, self.prompt)
        if not self.chat.appends and (self.selection.needs_growth):
            raise ConfigurationError(
                f"{select} looks ahead in a conversation that only grows, and with this prompt or chat template "
                "earlier turns are shown otherwise later on: choose best_of_k"
            )
        if select in CONSTRAINED and not self.chat.prompt.can_write:
            raise ConfigurationError(
                f"{select} writes every command in the prompt's form, which is an expression and says how replies are "
                "read alone: add writes to the prompt, such as '{thought}\\nAction: {action}'"
            )
        self.name = name
        self.environments: Mapping[str, Mapping[str, Any]] = {}
        self.max_length = _max_length(policy, critic)
        if self._vllm:
            self.max_length = min(self.max_length, self._vllm.max_length)
        self.tokenizer_fingerprint = self.chat.fingerprint
        self.needs = frozenset({"branch"} if select == "lookahead" else ())
        self.apart = isinstance(policy, Endpoint) and self.critic is None
        """Whether its decisions are a server's alone, so that no episode need wait for another's."""
        self._rounded_to: torch.dtype | None = None
        """What loading has rounded the weights to, where nobody asked for that."""
        self._turn = OneAtATime()
        self.prepare(1)
        self.reset()

    def __repr__(self) -> str:
        size = (
            "on a server"
            if isinstance(self.policy, Endpoint)
            else f"{self.policy.num_parameters() / 1e6:.1f} M"
        )
        critic = "no critic" if self.critic is None else "with a critic"
        return f"OreoAgent({self.name!r}, {self.selection.select}, {size}, {critic})"

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Unpack[AgentOptions]) -> OreoAgent:
        """Load an agent's folder (policy and, if present, critic), a plain Hugging Face causal LM, or ``small``.

        ``small`` is the agent of 3 million parameters that the package carries. Options are those of the class,
        ``device`` (default: the GPU if there is one), ``dtype`` (default: bfloat16 on a GPU, float32 elsewhere, in
        whichever precision the weights are stored) and ``trust_remote_code``, which lets code run that the model
        brings. ``env_id`` says where it is to play, for a prompt that has words of their own for some environments.
        Where it was trained is in ``environments``: options by id, empty where nobody knows.
        ``engine="vllm"`` has vLLM play the policy, in this process and on the GPU, with the critic beside it;
        ``engine_options`` are those of ``vllm.LLM``. Beside a critic it takes half of the memory that is free, unless
        ``gpu_memory_utilization`` says otherwise.
        ``critic`` may also be the folder of another agent of the same tokenizer, which lends its own.
        ``temperature`` and ``logprob_weight`` are, where they are not given, those that the agent was judged with by
        whoever trained it (``choice`` in ``agent.json``), but for ``select="sample"``.
        In float32 an episode does not depend on how many others are played beside it; in bfloat16 a near tie may fall
        differently.

        Raises:
            CheckpointError: there is no usable checkpoint at ``path``.
        """
        if "env" in options:
            raise TypeError("OreoAgent.from_pretrained has no env: the environment's id is env_id here")
        own: dict[str, Any] = {"name": _name_folder(path), **options}
        with trusting_code(own.pop("trust_remote_code", False)):
            return cls._load(path, own)

    @classmethod
    def _load(cls, path: str | Path, own: dict[str, Any]) -> OreoAgent:
        policy, tokenizer = load_policy(path)
        judge = own.pop("critic", None) or path
        critic = judge if isinstance(judge, Critic) else None
        if critic is None:
            critic = load_critic(path, policy) if judge is path else _borrow_critic(judge, tokenizer)
        told, env_id = choose_prompt(path, own.get("prompt")), own.pop("env_id", None)
        own = _take_choice(path, own) | {"prompt": told.in_environment(env_id) if env_id else told}
        device, dtype = own.pop("device", best_device()), own.pop("dtype", None)
        dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        asked = dtype is not None
        if dtype is None:
            dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
        narrowed = False
        for model in (policy, critic and critic.backbone):
            if model is not None:
                narrowed |= any(x.dtype.itemsize > dtype.itemsize for x in model.parameters())
                cast(nn.Module, model).to(dtype)
        engine, options = own.pop("engine", None), own.pop("engine_options", {})
        if engine not in (None, "vllm"):
            raise ConfigurationError(f"there is no engine {engine!r}: name vllm, or none")
        if options and engine is None:
            raise ConfigurationError("engine_options are those of vllm.LLM: name engine='vllm', too")
        critic = critic and critic.to(device)
        player: Any = policy.to(device) if engine is None else policy
        if engine == "vllm":
            player = VllmModel(policy, str(dtype).removeprefix("torch."), _share_memory(critic) | options)
        agent = cls(player, tokenizer, critic, **own)
        agent.environments = read_environments(path)
        agent._rounded_to = dtype if narrowed and not asked else None
        if agent.selection.needs_critic and not isinstance(judge, Critic):
            _warn_of_critic(judge)
        return agent

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
        device = options.pop("device", best_device())
        critic = None if options.get("select", "greedy") in WITHOUT_CRITIC else load_critic(path)
        temperature, weight = options.get("temperature"), options.get("logprob_weight") or 0.0
        options = {**_take_choice(path, {**options, "temperature": temperature}), "logprob_weight": weight}
        options.setdefault("name", _name_folder(path))
        told, env_id = choose_prompt(path, options.get("prompt")), options.pop("env_id", None)
        options["prompt"] = told.in_environment(env_id) if env_id else told
        if critic is not None:
            _warn_of_critic(path)
        agent = cls(endpoint, load_tokenizer(path), critic and critic.to(device).float(), **options)
        agent.environments = read_environments(path)
        return agent

    def save_pretrained(self, path: str | Path) -> None:
        """Write policy, tokenizer and critic so that :meth:`from_pretrained` finds them, in the precision they are in.

        What was loaded with ``dtype="bfloat16"`` is written in it: half the space, without what of a training is
        smaller than a 256th of a weight, which is most of it at the rates for pretrained models.

        Raises:
            ConfigurationError: the policy is behind a server, or loading has rounded the weights for a GPU without
                having been asked to.
        """
        if isinstance(self.policy, Endpoint):
            raise ConfigurationError(f"the policy at {self.policy.host} is not here to be saved")
        if self._rounded_to is not None:
            dtype = str(self._rounded_to).removeprefix("torch.")
            raise ConfigurationError(
                f"to play on a GPU the weights were rounded to {dtype}, and most of a training is smaller than that: "
                f"to save them, load the agent with dtype='float32', or with dtype={dtype!r} to save them rounded"
            )
        learnt: dict[str, Any] = {"environments": dict(self.environments)} if self.environments else {}
        save_agent(path, self.policy, self.chat.tokenizer, self.critic, prompt=self.prompt, **learnt)

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
        if self.chat.prompt.digest:
            facts.append(f"prompt {self.chat.prompt.digest}")
        facts += ["no_repeat"] if how.no_repeat else []
        facts += [str(how.filters)] if how.filters and how.samples else []
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
        self._conversations = [Conversation(self.chat) for _ in range(slots)]
        self._failures = [Failures() for _ in range(slots)]

    def begin(self, slots: Sequence[int], assignments: Sequence[Assignment]) -> None:
        """New episodes start in ``slots``; their randomness comes from the seeds of ``assignments`` alone."""
        with self._turn:
            for slot, assignment in zip(slots, assignments, strict=True):
                self._rngs[slot] = random.Random(assignment.seed)
                self._conversations[slot] = Conversation(self.chat)
                self._failures[slot] = Failures()
            self._decider.clear(slots)

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """One decision for each slot's newest observation; it has no action but an end where the context is full."""
        with self._turn:
            return self._act_many(slots, observations, infos)

    def _act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        for observation in observations:
            if not isinstance(observation, str):
                raise ConfigurationError(
                    f"an observation is of type {type(observation).__name__}, and an agent reads text: give it what "
                    "the environment says"
                )
        self._observe(slots, observations, infos)
        new = self._read(slots, observations, infos)
        room = self.max_length - self.selection.max_new_tokens
        fits = [i for i, slot in enumerate(slots) if len(self._conversations[slot].tokens) <= room]
        chosen = [slots[i] for i in fits], [new[i] for i in fits], [infos[i] for i in fits]
        decided = iter(self._decide(*chosen) if fits else ())
        full = Decision(Action(""), end=f"the context of {self.max_length} tokens is full")
        return [next(decided) if i in set(fits) else full for i in range(len(slots))]

    def cancel(self) -> None:
        """Let decisions that a server is waited for end at once, by an error."""
        if isinstance(self.policy, Endpoint):
            self.policy.cancel()

    def follow(
        self,
        slots: Sequence[int],
        observations: Sequence[str],
        infos: Sequence[Mapping[str, Any]],
        actions: Sequence[str],
    ) -> None:
        """Take in, instead of a decision, the action that someone else chose after each observation."""
        self._observe(slots, observations, infos)
        new = self._read(slots, observations, infos)
        said = [
            getattr(action, "token_ids", None) or self.chat.action_ids(action, getattr(action, "said", None))
            for action in actions
        ]
        self._decider.extend(slots, [[*read, *ids] for read, ids in zip(new, said, strict=True)])
        for slot, ids, action in zip(slots, said, actions, strict=True):
            self._conversations[slot].say(ids, action)
            self._failures[slot].play(action)

    def _observe(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take in what came of the last commands."""
        for slot, observation, info in zip(slots, observations, infos, strict=True):
            self._failures[slot].observe(observation, info)

    def _decide(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """Decisions where there is room for them."""
        nothing = frozenset[str]()
        failed = [self._failures[slot].commands if self.selection.no_repeat else nothing for slot in slots]
        rngs = [self._rngs[slot] for slot in slots]
        decisions = self._decider.decide(slots, prompts, infos, rngs, failed)
        if self.critic is not None and not self.critic.scale.is_plain:
            decisions = [_restore_values(decision, self.critic.scale) for decision in decisions]
        for slot, decision in zip(slots, decisions, strict=True):
            self._conversations[slot].say(decision.action.token_ids or decision.spelt, decision.action)
            self._failures[slot].play(decision.action)
        return decisions

    def _read(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[list[int]]:
        """What each observation adds to its episode; what no longer stands before it is forgotten."""
        new, changed = [], {}
        for slot, observation, info in zip(slots, observations, infos, strict=True):
            conversation = self._conversations[slot]
            before = len(conversation.tokens)
            commands = info.get("admissible_commands")
            if self.chat.prompt.commands and commands is None:
                raise ConfigurationError(
                    "the prompt shows admissible commands, and the environment lists none: choose another prompt"
                )
            kept = conversation.read(observation, commands, info.get("action_status"))
            new.append(conversation.tokens[kept:])
            if kept < before:
                changed[slot] = kept
        if changed:
            self._decider.cut([*changed], [*changed.values()])
        return new

    def _make_decider(self, slots: int) -> Decider:
        selection = self.selection
        if isinstance(self.policy, Endpoint):
            device = next(self.critic.parameters()).device if self.critic else torch.device("cpu")
            remote = ServedPolicy(
                self.policy,
                self.chat,
                slots,
                selection.max_new_tokens,
                device,
                lambda slot: self._conversations[slot].messages(),
                self._turn,
            )
            return self._make_proposer(remote, slots, selection.searches)
        if self._vllm:
            device = next(self.critic.parameters()).device if self.critic else torch.device("cpu")
            engine = VllmPolicy(self._vllm, slots, self.chat.end_id, selection.max_new_tokens, device)
            return self._make_proposer(engine, slots, selection.searches)
        if selection.select in RULES:
            return SolveSteps(self._sampler, self.chat, selection, slots, self.max_length)
        alone = (
            selection.searches and selection.select != "lookahead"
        )  # V is read of a candidate without the answer to it
        own = (
            alone and self.critic is not None and self.critic.shares(self.policy) and fits_slots(self.policy)
        )
        cached = make_policy_engine(
            self.policy,
            slots,
            self.max_length,
            self.chat.end_id,
            selection.max_new_tokens,
            critic=self.critic if own else None,
            compile_backend=self._compile_backend,
        )
        return self._make_proposer(cached, slots, selection.searches and not own)

    def _make_proposer(self, engine: Engine, slots: int, judging: bool) -> Decider:
        """One candidate or the best of several; ``judging``: by a critic with a cache of its own."""
        judge = None
        if judging and self.critic:
            judge = make_critic_engine(self.critic, slots, self.max_length, self._compile_backend)
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
            filters=self.selection.filters,
        )


def _share_memory(critic: Critic | None) -> dict[str, float]:
    """What vLLM is to take of a card that a critic is on, too: half of what is free."""
    if critic is None or (device := next(critic.parameters()).device).type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {"gpu_memory_utilization": free / total / 2}


def _warn_of_critic(path: str | Path) -> None:
    """Say it where a critic is to choose that was measured and could not rank."""
    if doubt := explain_doubt(local_folder(path)):
        logging.getLogger(__name__).warning(doubt)


def _restore_values(decision: Decision, scale: ReturnScale) -> Decision:
    """The decision with its values in the unit of the environment's returns."""
    action = decision.action
    considered = tuple(replace(one, value=scale.restore(one.value)) for one in action.candidates)
    return replace(decision, action=action.amend(value=scale.restore(action.value), candidates=considered))


def _borrow_critic(path: str | Path, tokenizer: PreTrainedTokenizerBase) -> Critic:
    """Another agent's critic, for a policy with that tokenizer.

    Raises:
        CheckpointError: it has none, or none that stands by itself, or other tokens.
    """
    critic = load_critic(path)
    if critic is None:
        raise CheckpointError(f"{path} has no critic to lend: name an agent that was trained with one")
    if Chat(load_tokenizer(path)).fingerprint != Chat(tokenizer).fingerprint:
        raise CheckpointError(
            f"the critic of {path} reads other tokens than this policy writes: lend another"
        )
    return critic


def _take_choice(path: str | Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with what the agent's folder says of how its candidates are drawn and judged."""
    own = {} if options.get("select") == "sample" else read_choice(path)
    given = {key: value for key, value in options.items() if value is not None}
    return {**own, **given}


def _max_length(policy: PreTrainedModel | Endpoint, critic: Critic | None) -> int:
    """Tokens an episode may have for both."""
    models = [critic.backbone if critic else None, None if isinstance(policy, Endpoint) else policy]
    lengths = [context_length(model) for model in models if model]
    return min(lengths, default=1_000_000)  # a server alone says so itself


def _name_folder(path: str | Path) -> str:
    """The folder's name as text that can be stored: bytes that are not UTF-8 are escaped."""
    return os.fsencode(Path(path).name).decode("utf-8", "backslashreplace")
