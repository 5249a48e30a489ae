"""Steps sampled from a model against separate passes over the same conversations."""

import pytest
import torch
from learning import OPENING, random_decoder

from oreo_agents.inference.engines import fits_slots
from oreo_agents.inference.solution_search import beam_search
from oreo_agents.inference.solutions import Solution
from oreo_agents.inference.step_sampler import StepSampler
from oreo_agents.models.critic import Critic


@pytest.fixture
def sampler(tokenizer, chat):
    policy = random_decoder("qwen3", len(tokenizer))
    critic = Critic.from_policy(random_decoder("qwen3", len(tokenizer), seed=4))
    torch.nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(0))

    def sampler(**options):
        options = {"is_final": lambda text: "mug" in text, "max_new_tokens": 6, **options}
        return StepSampler(policy, critic, chat, chat.opening(OPENING), reply="Nothing happens.", **options)

    return sampler


def test_values_are_those_of_the_whole_conversation_after_the_step(sampler, chat):
    steps = sampler()
    (first,) = steps.expand([Solution()], 3)
    partial = [Solution((step,)) for step in first[:2]]
    for solution, proposed in zip(partial, steps.expand(partial, 2), strict=True):
        told = chat.opening(OPENING) + list(solution.steps[0].tokens) + chat.reply("Nothing happens.")
        for step in proposed:
            with torch.no_grad():
                ids = torch.tensor([told + list(step.tokens)])
                value = steps.critic(ids)[0, -1].item()
                table = steps.policy(ids).logits[0, len(told) - 1 : -1].float().log_softmax(-1)
            logprob = table.gather(1, ids[0, len(told) :, None]).sum().item()
            assert step.logprob == pytest.approx(logprob, abs=1e-3)
            assert step.value == pytest.approx(value, abs=1e-4)
            assert step.text == chat.understand(step.tokens).action


def test_it_counts_what_it_costs(sampler, chat):
    steps = sampler()
    (first,) = steps.expand([Solution()], 3)
    opening, generated = len(chat.opening(OPENING)), sum(len(step.tokens) for step in first)
    assert (steps.prompt_tokens, steps.generated_tokens) == (opening, generated)
    assert steps.critic_tokens == opening + generated
    steps.expand([Solution(tuple(first[:1]))], 1)
    reply = len(chat.reply("Nothing happens."))
    assert steps.prompt_tokens == 2 * opening + len(first[0].tokens) + reply


def test_a_critic_on_the_policys_trunk_reads_no_prompt_of_its_own(sampler, chat):
    """The trunk runs once over the problem, over the steps' tokens, and over the last ones again at most."""
    steps, runs = sampler(), []
    steps.critic = Critic.shared(steps.policy)
    torch.nn.init.normal_(steps.critic.value_head.weight, generator=torch.Generator().manual_seed(1))
    assert fits_slots(steps.policy) and fits_slots(steps.critic.backbone)  # which runs it, too, but once
    steps.policy.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: runs.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    (first,) = steps.expand([Solution()], 3)
    opening = chat.opening(OPENING)
    assert runs[0] == len(opening) and sum(runs[1:]) <= sum(len(step.tokens) for step in first)
    assert (steps.prompt_tokens, steps.critic_tokens) == (len(opening), 3)
    for step in first:
        with torch.no_grad():
            value = steps.critic(torch.tensor([opening + list(step.tokens)]))[0, -1].item()
        assert step.value == pytest.approx(value, abs=1e-4)


def test_a_cut_step_is_not_final(sampler, chat):
    steps = sampler(is_final=lambda text: True).expand([Solution()], 32)[0]
    for step in steps:
        assert step.final == (step.tokens[-1] == chat.end_id)
    assert {step.final for step in steps} == {True, False}


def test_a_beam_of_a_model_depends_on_the_seed_alone(sampler):
    one, again, other = (beam_search(sampler(seed=seed), 3, max_steps=3) for seed in (1, 1, 2))
    assert one == again != other
    assert len(one.best.steps) <= 3 and one.sampled_steps <= 9 + 9 + 9
