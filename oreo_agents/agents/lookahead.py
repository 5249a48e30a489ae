"""Choosing by where candidates lead, tried on copies of the game."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from oreo_agents.agents.propose import Infos, Prompts, Propose, Scores, count_read_tokens
from oreo_agents.errors import ConfigurationError, EpisodeError
from oreo_agents.inference.proposals import Proposals
from oreo_agents.language.chat import is_missed

if TYPE_CHECKING:
    from oreo_envs.wrappers import Branch


class LookAhead(Propose):
    """The candidate that leads to the best position, by trying each on the simulator (``info["branch"]``).

    A position is worth the rewards on the way there and, unless the episode is over, V read where the next action would
    begin, after the environment's answer.
    """

    def _score_proposals(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, proposals: Proposals
    ) -> Scores:
        assert self.judge is not None
        branches = [_require_branch(info) for info in infos]
        texts = [
            [self.chat.action_text(ids, info.get("admissible_commands")) for ids, _ in row]
            for row, info in zip(proposals.listed(), infos, strict=True)
        ]
        for row in (*proposals.errors, *proposals.full):
            texts[row] = []
        tried, errors = list[dict[str, "Branch"]](), dict[int, str]()
        for row, branch in enumerate(branches):
            try:
                tried.append({text: branch.step(text) for text in dict.fromkeys(texts[row])})
            except EpisodeError as error:  # the environment breaks down: the others go on
                errors[row], texts[row] = str(error), []
                tried.append({})
        reached = [
            [leads[text] for text in row] or [branch] * self.k
            for branch, leads, row in zip(branches, tried, texts, strict=True)
        ]
        rooms = [
            room - len(prompt) - self.selection.max_new_tokens
            for room, prompt in zip(self.judge.room(slots), prompts, strict=True)
        ]  # beyond it nothing can be read; the episode will end there
        answers = [
            [
                self._read_answer(text, info, branch)
                for text, branch in zip(row or [""] * self.k, leads, strict=True)
            ]
            for row, info, leads in zip(texts, infos, reached, strict=True)
        ]
        ahead = proposals.answered(
            [
                [self.chat.reply(answer)[:room] for answer in row]
                for row, room in zip(answers, rooms, strict=True)
            ]
        )
        values = self.judge.values(slots, prompts, ahead)
        reward = self.judge.critic.scale.reward
        rewards = values.new_tensor(
            [[reward(branch.reward, branch.turns - 1, branch.ended) for branch in row] for row in reached]
        )
        ended = torch.tensor([[branch.ended for branch in row] for row in reached], device=values.device)
        return Scores(
            rewards + values.masked_fill(ended, 0.0),
            replace(ahead, counts=proposals.counts),  # the answer is read again when it is really given
            count_read_tokens(prompts, ahead),
            list(map(len, tried)),
            errors,
        )

    def _read_answer(self, action: str, info: Mapping[str, Any], branch: Branch) -> str:
        """What would be read after an action that was chosen where ``info`` was given."""
        missed = is_missed(action, info.get("admissible_commands"), branch.info.get("action_status"))
        return self.chat.prompt.message(branch.observation, branch.info.get("admissible_commands"), missed)


def _require_branch(info: Mapping[str, Any]) -> Branch:
    if "branch" not in info:
        raise ConfigurationError(
            "lookahead tries actions on info['branch'], and this environment offers none: wrap it in "
            "oreo_envs.wrappers.OfferBranches, or choose best_of_k"
        )
    branch: Branch = info["branch"]
    return branch
