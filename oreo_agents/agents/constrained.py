"""Choosing among the commands that the environment lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, cast

import torch
from torch import Tensor

from oreo_agents.agents.agent import Decision
from oreo_agents.agents.propose import Failed, Infos, Prompts, Propose, bar_candidates, keep_said
from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.generation import GeneratingPolicy
from oreo_agents.inference.policy import CachedPolicy
from oreo_agents.inference.proposals import Proposals
from oreo_agents.trajectory import Action, Candidate


class Constrained(Propose):
    """Of the ``k`` likeliest commands in ``info["admissible_commands"]`` the one with the highest V; without a critic
    the likeliest. Nothing is generated, but where the prompt's form has a place for a thought
    (:attr:`oreo_agents.language.prompt.Prompt.takes_thoughts`): the likeliest one, which each command then follows.
    """

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random], failed: Failed
    ) -> list[Decision]:
        """One decision for each slot."""
        engine = cast(CachedPolicy | GeneratingPolicy, self.engine)
        commands = [_require_commands(info) for info in infos]
        generated, cut = [0] * len(slots), [False] * len(slots)
        if self.chat.prompt.takes_thoughts:
            written, generated, cut = self._think(slots, prompts, commands)
            scored = engine.score(slots, [prompt[-1:] for prompt in prompts], written)
        else:
            scored = engine.score(
                slots, prompts, [[*map(self.chat.action_ids, listed)] for listed in commands]
            )
        finalists = self._likeliest(scored, commands, failed)
        values: list[dict[int, float]] = [{} for _ in slots]
        read, lanes = [0] * len(slots), torch.zeros(len(slots), dtype=torch.long)
        if self.judge or scored.values is not None:
            proposals = scored.only(finalists)
            scores = self._score_proposals(slots, prompts, infos, proposals)
            assert scores.values is not None
            lanes = self._rank(proposals, scores.values).argmax(1).cpu()
            rows = zip(finalists.tolist(), scores.values.tolist(), strict=True)
            values = [dict(zip(*row, strict=True)) for row in rows]
            read = list(scores.tokens) if self.judge else [*map(len, commands)]
            if self.judge:
                self.judge.keep(slots, scores.read, lanes)
        taken = finalists.cpu().gather(1, lanes[:, None])[:, 0]
        engine.keep(slots, scored, taken)
        sizes = (scored.tree.ids >= 0).sum(1).tolist()
        columns = commands, scored.listed(), values, taken.tolist()
        return [
            Decision(self._action(*row).amend(cut=shortened), len(prompt) + size, thought, tokens)
            for prompt, size, thought, tokens, shortened, *row in zip(
                prompts, sizes, generated, read, cut, *columns, strict=True
            )
        ]

    def _think(
        self, slots: Sequence[int], prompts: Prompts, commands: Sequence[Sequence[str]]
    ) -> tuple[list[list[list[int]]], list[int], list[bool]]:
        """A reply with each command after the likeliest thought, how many tokens were generated to find that, and
        whether it was cut to leave room for the command.
        """
        engine, n = cast(CachedPolicy | GeneratingPolicy, self.engine), self.selection.max_new_tokens
        proposals = engine.propose(slots, prompts, torch.full((len(slots), n, 1), torch.nan), 1.0)
        engine.take_back(slots)
        written, cut, chat = [], [], self.chat
        for ((ids, _),), listed in zip(proposals.listed(), commands, strict=True):
            thought = chat.prompt.find_thought(chat.understand(ids, listed))
            kept = chat.cut_thought(thought, listed, n)
            written.append(chat.thoughtful_ids(kept, listed))
            cut.append(kept != thought)
        return written, proposals.count_tokens(), cut

    def _likeliest(self, scored: Proposals, commands: Sequence[Sequence[str]], failed: Failed) -> Tensor:
        """The numbers of the K likeliest commands that have not failed, ``[B, K]``, likeliest first; it again where
        there are fewer.
        """
        sums = scored.sums()
        counts = sums.new_tensor([*map(len, commands)])
        listed = torch.arange(sums.shape[1], device=sums.device) < counts[:, None]
        sums = sums.masked_fill(~listed, -torch.inf)
        if any(failed):
            repeated = ~listed  # what fills a row up is no way out
            for row, (offered, gone) in enumerate(zip(commands, failed, strict=True)):
                for i, command in enumerate(offered):
                    repeated[row, i] = command in gone
            sums = bar_candidates(sums, repeated)
        order = sums.argsort(stable=True, dim=1, descending=True)[:, : self.k]
        return torch.where(sums.gather(1, order) > -torch.inf, order, order[:, :1])

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
        said = keep_said(self.chat.understand(scored[taken][0], commands))
        return Action(commands[taken], *scored[taken], values.get(taken), considered, said)


def _require_commands(info: Mapping[str, Any]) -> list[str]:
    commands = list(info.get("admissible_commands") or ())
    if not commands:
        raise ConfigurationError(
            "a constrained agent chooses among info['admissible_commands'], and this environment lists none: "
            "choose another select"
        )
    return commands
