"""What has failed is not chosen again: what counts as failed, what is taken instead, and what that costs."""

import json
from random import Random

import pytest
import torch
from learning import OPENING, random_decoder

from oreo_agents.agents.agent import Assignment
from oreo_agents.agents.failures import Failures
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.agents.propose import Propose
from oreo_agents.agents.selection import SELECTS, Selection
from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.tree import tree_of
from oreo_agents.models.critic import Critic

OK, FAILED = {"action_status": "ok"}, {"action_status": "not_applicable"}
NOTHING = "Nothing happens."
STORY = [
    (OPENING, OK),
    *[(NOTHING, FAILED)] * 4,
    ("You arrive at desk 1. On the desk 1, you see a pen 1.", OK),
    (NOTHING, {"action_status": "unparsable"}),
]


@pytest.fixture(scope="module")
def critic(tokenizer):
    critic = Critic.from_policy(random_decoder("qwen3", len(tokenizer), seed=4))
    torch.nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(0))
    return critic


@pytest.fixture(scope="module")
def make(policy, critic, tokenizer):
    def make(select="greedy", no_repeat=True, **options):
        options = {"k": 6, "max_new_tokens": 6, **options}
        return OreoAgent(policy, tokenizer, critic, select, no_repeat=no_repeat, **options)

    return make


def play(agent, story=STORY, seed=3):
    agent.reset(seed)
    return [agent.act(observation, info) for observation, info in story]


def list_failed(decisions, story=STORY):
    """For each decision what had failed by then, counted here."""
    failed, listed = [], [[]]
    for decision, (_, info) in zip(decisions, story[1:], strict=False):
        failed = [] if info["action_status"] == "ok" else [*failed, decision.action.strip()]
        listed.append(failed)
    return listed


def test_what_has_failed_is_remembered_until_something_works():
    failures = Failures()
    failures.observe("a room", OK)
    failures.play("open desk 1 ")
    failures.observe(NOTHING, FAILED)
    failures.play("open desk 2")
    failures.observe(NOTHING, {"action_status": "unparsable"})
    assert failures.commands == {"open desk 1", "open desk 2"}
    failures.play("look")
    failures.observe("a room", OK)
    assert failures.commands == set()


def test_without_a_status_an_unchanged_observation_is_a_failure():
    failures = Failures()
    failures.observe("a room", {})
    failures.play("wait")
    failures.observe("a room", {})
    assert failures.commands == {"wait"}
    failures.play("go north")
    failures.observe("a hall", {})
    assert failures.commands == set()


@pytest.mark.parametrize("select", ["greedy", "sample", "best_of_k"])
def test_nothing_that_has_just_failed_is_played_again(make, select):
    decisions = play(make(select))
    assert all(
        decision.action.strip() not in failed
        for decision, failed in zip(decisions, list_failed(decisions), strict=True)
    )


def test_greedy_decides_otherwise_where_its_own_command_has_failed(make, chat):
    (plain, *_), agent = play(make(no_repeat=False)), make()
    agent.reset(3)
    (decision,) = agent._decider.decide(
        [0], [chat.opening(OPENING)], [OK], [Random(3)], [{plain.action.strip()}]
    )
    first, *others = decision.candidates
    assert first.action == plain.action != decision.action
    others = [one for one in others if one.action != plain.action]
    assert decision.action == max(others, key=lambda one: one.logprob).action


def test_greedy_takes_the_likeliest_that_has_not_failed_and_pays_for_looking(make):
    plain, decisions = play(make(no_repeat=False)), play(make())
    first, *rest = zip(decisions, list_failed(decisions), strict=True)
    assert first[0] == plain[0] and first[0].candidates == ()
    looked = 0
    for decision, failed in rest:
        if not failed:
            assert decision.candidates == ()
            assert decision.generated_tokens == len(decision.action.token_ids)
            continue
        looked += 1
        assert len(decision.candidates) == 6
        assert decision.generated_tokens > len(decision.action.token_ids)
        allowed = [one for one in decision.candidates if one.action.strip() not in failed]
        assert decision.action == max(allowed, key=lambda one: one.logprob).action
    assert looked == 5


def test_sampling_again_changes_nothing_where_nothing_has_failed(make):
    fine = [(observation, OK) for observation, _ in STORY]
    decisions = play(make("sample"), fine)
    assert all(len(one.action.token_ids) == one.generated_tokens and not one.candidates for one in decisions)
    assert len({one.action for one in decisions}) > 1


def test_the_critic_judges_what_is_left(make):
    for weight in (0.0, 0.5):
        decisions = play(make("best_of_k", logprob_weight=weight))
        for decision, failed in zip(decisions, list_failed(decisions), strict=True):
            allowed = [one for one in decision.candidates if one.action.strip() not in failed]
            best = max(allowed, key=lambda one: one.value + weight * one.logprob)
            assert (decision.action, decision.action.value) == (best.action, best.value)


@pytest.mark.parametrize("select", ["constrained", "constrained_best_of_k"])
def test_listed_commands_that_have_failed_are_left_out_while_there_are_others(make, select):
    listed = {"admissible_commands": ["look", "go to desk 1", "inventory"]}
    story = [(OPENING, {**listed, **OK}), *[(NOTHING, {**listed, **FAILED})] * 4]
    actions = [decision.action for decision in play(make(select, k=2), story)]
    assert sorted(actions[:3]) == sorted(listed["admissible_commands"])
    assert actions[3] in listed["admissible_commands"]  # all have failed


def test_many_episodes_at_once_play_as_each_alone(make):
    stories, agent = (STORY, STORY[::-1]), make("best_of_k")
    agent.prepare(2)
    agent.begin([1, 0], [Assignment(None, seed) for seed in (3, 4)])
    turns = [agent.act_many([1, 0], *zip(*seen, strict=True)) for seen in zip(*stories, strict=True)]
    for story, seed, decisions in zip(stories, (3, 4), zip(*turns, strict=True), strict=True):
        assert [one.action for one in play(make("best_of_k"), story, seed)] == [
            one.action for one in decisions
        ]


def test_what_someone_else_tried_counts_too(make):
    agent = make()
    agent.reset(3)
    agent.follow([0], [OPENING], [OK], ["take mug 1 from desk 1"])
    assert agent.act(NOTHING, FAILED).candidates
    assert agent._failures[0].commands == {"take mug 1 from desk 1"}


class Says:
    """An engine that proposes the same commands in every turn, without log-probabilities: a server."""

    def __init__(self, chat, commands):
        self.ids = [chat.action_ids(command) for command in commands]

    def clear(self, slots): ...
    def keep(self, slots, proposals, lanes): ...

    def propose(self, slots, prompts, uniforms, temperature, filters):
        tree, nodes, counts = tree_of([self.ids] * len(slots), torch.device("cpu"))
        return Proposals(tree, nodes, torch.full(nodes.shape, torch.nan), counts)


def test_a_server_has_no_log_probabilities_so_the_first_is_taken_and_the_first_again_if_all_have_failed(chat):
    commands = ["look", "inventory", "go to desk 1"]
    decider = Propose(Says(chat, commands), None, chat, Selection("greedy", 3, 8, no_repeat=True))
    for failed, expected in ((set(), 0), ({"look"}, 1), ({"look", "inventory"}, 2), (set(commands), 0)):
        (decision,) = decider.decide([0], [[1, 2]], [{}], [Random(0)], [failed])
        assert decision.action == commands[expected]


def test_every_way_to_choose_says_its_rule_and_whole_solutions_cannot_leave_out_commands():
    refused = []
    for select in SELECTS:
        try:
            rule = Selection(select, no_repeat=True).rule
            assert "failed" in rule and rule.startswith(Selection(select).rule)
        except ConfigurationError:
            refused.append(select)
    assert refused == ["beam", "best_of_n", "majority_vote", "value_vote"]
    assert Selection("best_of_k", 3, temperature=2.0, logprob_weight=0.0).rule == (
        "the highest V among the greedy command and 2 samples at temperature 2"
    )


def test_the_folder_says_how_its_candidates_are_drawn_and_judged(make, tmp_path, policy):
    make().save_pretrained(tmp_path / "agent")
    plain = OreoAgent.from_pretrained(tmp_path / "agent", select="best_of_k").selection
    assert (plain.temperature, plain.logprob_weight) == (1.0, 0.03)
    card = tmp_path / "agent" / "agent.json"
    card.write_text(json.dumps({"choice": {"temperature": 2.0, "logprob_weight": 0.1}}))
    own = OreoAgent.from_pretrained(tmp_path / "agent", select="best_of_k", no_repeat=True).selection
    assert (own.temperature, own.logprob_weight, own.no_repeat) == (2.0, 0.1, True)
    said = OreoAgent.from_pretrained(
        tmp_path / "agent", select="best_of_k", temperature=0.5, logprob_weight=0.0
    )
    assert (said.selection.temperature, said.selection.logprob_weight) == (0.5, 0.0)
    assert OreoAgent.from_pretrained(tmp_path / "agent", select="sample").selection.temperature == 1.0
    for broken in ('{"choice": {"temperature": "hot"}}', '{"choice": [2.0]}', "[]", "{"):
        card.write_text(broken)
        with pytest.raises(CheckpointError, match=r"agent\.json"):
            OreoAgent.from_pretrained(tmp_path / "agent", select="best_of_k")


def test_another_agent_lends_its_critic(make, critic, policy, tokenizer, tmp_path):
    make().save_pretrained(tmp_path / "lender")
    OreoAgent(policy, tokenizer).save_pretrained(tmp_path / "alone")
    with pytest.raises(ConfigurationError, match="needs a critic"):
        OreoAgent.from_pretrained(tmp_path / "alone", select="best_of_k")
    lent = OreoAgent.from_pretrained(
        tmp_path / "alone", critic=tmp_path / "lender", select="best_of_k", k=6, max_new_tokens=6
    )
    own = make("best_of_k", no_repeat=False)
    assert [one.action for one in play(lent)] == [one.action for one in play(own)]
    with pytest.raises(CheckpointError, match="no critic to lend"):
        OreoAgent.from_pretrained(tmp_path / "lender", critic=tmp_path / "alone")
    with pytest.raises(CheckpointError, match="reads other tokens"):
        OreoAgent.from_pretrained(tmp_path / "alone", critic="small")
