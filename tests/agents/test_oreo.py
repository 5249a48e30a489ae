"""The agent: the same decisions alone or in a batch, the best by the critic, and no observation that breaks it."""

import pytest
import torch
from learning import LOSING, OPENING, WINNING, ToyRoom, random_decoder

from oreo_agents.agents.agent import Assignment
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.environments import environments
from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.tree import Tree
from oreo_agents.models.agent_folder import load_policy
from oreo_agents.models.critic import Critic
from oreo_agents.rollout.loop import rollout
from oreo_agents.training.forward import PolicyAndCritic
from oreo_agents.training.rows import lay_rows

STORIES = (
    [OPENING, *(answer for _, answer in WINNING[:3])],
    [OPENING.replace("mug", "pen"), *(answer for _, answer in LOSING[:3])],
    [OPENING.replace("shelf 1", "shelf 12"), "Nothing happens.", "Nothing happens.", WINNING[2][1]],
)


@pytest.fixture(scope="module")
def critic(tokenizer):
    critic = Critic.from_policy(random_decoder("qwen3", len(tokenizer), seed=4))
    torch.nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(0))
    return critic


@pytest.fixture(scope="module")
def make(policy, critic, tokenizer):
    def make(select, k=4, **options):
        return OreoAgent(policy, tokenizer, critic, select, k, **{"max_new_tokens": 6, **options})

    return make


LISTED = {"admissible_commands": ["look", "go to desk 1", "go to desk 2", "inventory"]}


def alone(agent, story, seed, info=None):
    agent.reset(seed)
    return [agent.act(observation, info) for observation in story]


def together(agent, stories, seeds, slots):
    agent.prepare(len(stories))
    agent.begin(slots, [Assignment(None, seed) for seed in seeds])
    turns = [agent.act_many(slots, seen, [{}] * len(slots)) for seen in zip(*stories, strict=True)]
    return [list(episode) for episode in zip(*turns, strict=True)]


def ids(decisions):
    return [decision.action.token_ids for decision in decisions]


@pytest.mark.parametrize("select", ["greedy", "sample", "best_of_k"])
def test_many_episodes_at_once_play_as_each_alone(make, select):
    seeds = (11, 22, 33)
    batch = together(make(select), STORIES, seeds, slots=[2, 0, 1])
    for story, seed, decisions in zip(STORIES, seeds, batch, strict=True):
        single = alone(make(select), story, seed)
        assert ids(single) == ids(decisions)
        for one, other in zip(single, decisions, strict=True):
            assert one.action.logprobs == pytest.approx(other.action.logprobs, abs=1e-4)


def test_best_of_one_is_greedy(make):
    assert ids(alone(make("best_of_k", k=1), STORIES[0], 1)) == ids(alone(make("greedy"), STORIES[0], 2))


def test_best_of_k_plays_the_candidate_with_the_highest_value(make):
    greedy_was_not_best = 0
    for decision in alone(make("best_of_k", k=5), STORIES[0], 3):
        values = [candidate.value for candidate in decision.candidates]
        best = decision.candidates[values.index(max(values))]
        assert len(values) == 5 and len(set(values)) > 1
        assert (decision.action, decision.action.value) == (best.action, best.value)
        assert sum(decision.action.logprobs) == pytest.approx(best.logprob, abs=1e-5)
        greedy_was_not_best += values[0] != max(values)
    assert greedy_was_not_best


def test_the_first_candidate_is_the_greedy_action(make):
    best, greedy = (alone(make(select), STORIES[0][:1], 3)[0] for select in ("best_of_k", "greedy"))
    assert best.candidates[0].action == greedy.action
    assert greedy.candidates == () and greedy.action.value is None


def test_sampling_depends_on_the_seed_alone(make):
    agent = make("sample")
    first = ids(alone(agent, STORIES[0], 5))
    assert ids(alone(agent, STORIES[1], 5)) and ids(alone(agent, STORIES[0], 5)) == first
    assert ids(alone(agent, STORIES[0], 6)) != first


@pytest.mark.parametrize("select", ["greedy", "best_of_k"])
def test_what_was_sampled_is_what_is_trained_on(make, policy, critic, select):
    """A rollout, encoded for training, gives the trainer the log-probabilities and values of the agent."""
    agent = make(select)
    games = [Assignment(game, seed=game) for game in (0, 1, 2)]

    def env():
        from gymnasium.wrappers import TimeLimit

        return TimeLimit(ToyRoom(), 4)

    for trajectory in rollout(env, games, agent, slots=2):
        encoded = agent.chat.encode(trajectory)
        rows = lay_rows(torch.tensor([encoded.input_ids]), torch.tensor([encoded.action_mask]))
        with torch.no_grad():
            out = PolicyAndCritic(policy, critic, head_chunk=8)(rows)
        recorded = [logprob for turn in trajectory.turns for logprob in turn.logprobs]
        assert out["logp"][0][encoded.action_mask].tolist() == pytest.approx(recorded, abs=1e-4)
        if select == "best_of_k":
            values = [turn.value for turn in trajectory.turns]
            assert out["values"][0][encoded.end_mask].tolist() == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize("select", ["greedy", "best_of_k"])
def test_after_following_it_decides_as_if_it_had_acted(make, select):
    """A person may take over and give back: what the agent was told of is as good as what it did itself."""
    acted = alone(make(select), STORIES[0], 7)
    agent = make(select)
    agent.reset(7)
    for observation, decision in zip(STORIES[0][:-1], acted, strict=False):
        agent.follow([0], [observation], [{}], [decision.action])
    if select == "best_of_k":  # the sampled candidates have used up their randomness
        agent._rngs[0].setstate(_state_after(make(select), STORIES[0][:-1], 7))
    last = agent.act(STORIES[0][-1])
    assert last.action == acted[-1].action
    assert last.action.logprobs == pytest.approx(acted[-1].action.logprobs, abs=1e-4)
    if select == "best_of_k":
        assert last.action.value == pytest.approx(acted[-1].action.value, abs=1e-4)


def _state_after(agent, story, seed):
    alone(agent, story, seed)
    return agent._rngs[0].getstate()


def test_an_observation_that_is_no_text_is_named(make):
    agent = make("greedy")
    agent.reset()
    with pytest.raises(
        ConfigurationError, match="an observation is of type NoneType, and an agent reads text"
    ):
        agent.act(None)


def test_plain_text_can_be_followed(make):
    agent = make("greedy")
    agent.reset()
    agent.follow([0], [OPENING], [{}], ["look"])
    decision = agent.act("You see nothing.")
    told = [
        *agent.chat.opening(OPENING),
        *agent.chat.action_ids("look"),
        *agent.chat.reply("You see nothing."),
    ]
    with torch.no_grad():
        logits = agent.policy(input_ids=torch.tensor([told])).logits[0, -1]
    assert decision.action.token_ids[0] == logits.argmax()


def test_a_decision_counts_its_tokens(make):
    greedy, best = (alone(make(select), STORIES[0][:1], 3)[0] for select in ("greedy", "best_of_k"))
    prompt = len(make("greedy").chat.opening(OPENING))
    assert (greedy.prompt_tokens, greedy.critic_tokens) == (prompt, 0)
    assert greedy.generated_tokens == len(greedy.action.token_ids)
    assert best.generated_tokens >= len(best.candidates)
    assert best.critic_tokens == prompt + best.generated_tokens


@pytest.mark.parametrize("select", ["best_of_k", "constrained_best_of_k"])
def test_a_critic_on_the_policys_trunk_chooses_as_if_it_were_apart(policy, tokenizer, select):
    head = Critic.shared(policy)
    torch.nn.init.normal_(head.value_head.weight, generator=torch.Generator().manual_seed(0))
    apart = Critic.from_policy(policy)
    apart.value_head.load_state_dict(head.value_head.state_dict())
    shared, separate = (
        alone(OreoAgent(policy, tokenizer, critic, select, k=4, max_new_tokens=6), STORIES[0], 3, LISTED)
        for critic in (head, apart)
    )
    assert ids(shared) == ids(separate)
    for one, other in zip(shared, separate, strict=True):
        assert one.action.value == pytest.approx(other.action.value, abs=1e-4)
        assert one.critic_tokens <= 4 < other.critic_tokens


def test_a_full_context_ends_its_episode_and_no_other(make):
    agent = make("best_of_k")
    agent.max_length = 90
    short, long = OPENING[:100], "You see nothing. " * 30
    together(agent, [[short], [short]], (1, 2), slots=[0, 1])
    ended, goes_on = agent.act_many([0, 1], [long, "Nothing happens."], [{}, {}])
    assert "90 tokens is full" in ended.end and not ended.failed and ended.action == ""
    assert goes_on.end == "" and goes_on.action.token_ids


@pytest.mark.parametrize(
    "observation",
    [
        "",
        "  \n ",
        "It was a dark and stormy night; the rain fell in torrents - except at occasional intervals.",
        "zyzzyva 99 \u2603 \U0001f600 \x00 \ufffd",
        "<act> <end> <episode> <pad> <unk>",
        "<|im_start|>assistant",
    ],
    ids=["empty", "blank", "prose", "signs", "control tokens", "another template"],
)
@pytest.mark.parametrize("select", ["greedy", "best_of_k"])
def test_any_observation_gets_an_answer(make, observation, select):
    for decision in alone(make(select, k=2), [observation, observation, OPENING], 0):
        assert isinstance(decision.action, str) and decision.action.token_ids
        assert "\n" not in decision.action


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"select": "astrology"},
            "astrology.*greedy, sample, best_of_k, lookahead, constrained, constrained_best_of_k, beam",
        ),
        ({"select": "best_of_k", "k": 0}, "k is 0"),
        ({"select": "best_of_k", "k": -3}, "k is -3"),
        ({"select": "sample", "temperature": 0.0}, "temperature is 0.0, .*select greedy"),
        ({"select": "greedy", "max_new_tokens": 0}, "max_new_tokens is 0"),
    ],
)
def test_wrong_options_are_named(make, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make(**options)


def test_best_of_k_needs_a_critic(policy, tokenizer):
    with pytest.raises(ConfigurationError, match="needs a critic"):
        OreoAgent(policy, tokenizer, select="best_of_k")


def test_saved_and_loaded_it_plays_the_same(make, tmp_path):
    agent = make("best_of_k")
    agent.save_pretrained(tmp_path / "agent")
    loaded = OreoAgent.from_pretrained(
        tmp_path / "agent", select="best_of_k", k=4, max_new_tokens=6, device="cpu"
    )
    assert loaded.name == "agent"
    assert loaded.tokenizer_fingerprint == agent.tokenizer_fingerprint
    assert ids(alone(loaded, STORIES[0], 7)) == ids(alone(agent, STORIES[0], 7))
    with pytest.raises(CheckpointError, match="nowhere"):
        OreoAgent.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "written"),
    [({}, None), ({"dtype": "float32"}, "float32"), ({"dtype": "bfloat16"}, "bfloat16")],
)
def test_what_a_gpu_rounds_is_not_saved_unasked(make, tmp_path, monkeypatch, options, written):
    """Nor is it where the agent is stored as it would be played."""
    make("best_of_k").save_pretrained(tmp_path / "agent")
    move = torch.nn.Module.to

    def stay(module, place):
        return module if place == "cuda" else move(module, place)

    monkeypatch.setattr(torch.nn.Module, "to", stay)
    loaded = OreoAgent.from_pretrained(tmp_path / "agent", device="cuda", **options)
    if written is None:
        with pytest.raises(ConfigurationError, match="load the agent with dtype='float32'"):
            loaded.save_pretrained(tmp_path / "again")
        return
    loaded.save_pretrained(tmp_path / "again")
    assert str(load_policy(tmp_path / "again")[0].dtype) == f"torch.{written}"
    monkeypatch.undo()
    again = OreoAgent.from_pretrained(tmp_path / "again", device="cpu")
    again.save_pretrained(tmp_path / "third")  # nothing is lost where it becomes more precise


COMMANDS = (["look", "go to desk 1", "go to desk 2"], ["inventory", "go to drawer 1"])


def test_constrained_takes_the_likeliest_admissible_command(make, policy):
    """Scores of a tree of commands equal those of each command by itself, over turns and in a batch."""
    agent = make("constrained")
    agent.prepare(2)
    agent.begin([0, 1], [Assignment(None, 0)] * 2)
    told = [[], []]
    for observation in STORIES[0][:3]:
        infos = [{"admissible_commands": commands} for commands in COMMANDS]
        decisions = agent.act_many([0, 1], [observation] * 2, infos)
        for row, decision in enumerate(decisions):
            told[row] += agent.chat.reply(observation) if told[row] else agent.chat.opening(observation)
            assert [candidate.action for candidate in decision.candidates] == COMMANDS[row]
            for candidate in decision.candidates:
                ids = agent.chat.action_ids(candidate.action)
                with torch.no_grad():
                    logits = policy(input_ids=torch.tensor([told[row] + ids])).logits[0].float()
                logprobs = logits.log_softmax(-1)[len(told[row]) - 1 : -1][torch.arange(len(ids)), ids]
                assert candidate.logprob == pytest.approx(logprobs.sum().item(), abs=1e-3)
            best = max(decision.candidates, key=lambda candidate: candidate.logprob)
            assert decision.action == best.action and decision.generated_tokens == 0
            told[row] += decision.action.token_ids


@pytest.mark.parametrize("k", [1, 2, 4])
def test_constrained_best_of_k_takes_the_best_of_the_likeliest_by_v(make, critic, k):
    """V of each is that of the critic on the whole episode; rows have three and two commands."""
    agent = make("constrained_best_of_k", k=k)
    likeliest_was_not_best = 0
    agent.prepare(2)
    agent.begin([1, 0], [Assignment(None, 0)] * 2)
    told = [[], []]
    for observation in STORIES[0]:
        infos = [{"admissible_commands": commands} for commands in COMMANDS]
        decisions = agent.act_many([1, 0], [observation] * 2, infos)
        for row, decision in enumerate(decisions):
            told[row] += agent.chat.reply(observation) if told[row] else agent.chat.opening(observation)
            assert [candidate.action for candidate in decision.candidates] == COMMANDS[row]
            ranked = sorted(decision.candidates, key=lambda candidate: -candidate.logprob)
            assert all(candidate.value is None for candidate in ranked[k:])
            for candidate in ranked[:k]:
                whole = torch.tensor([told[row] + agent.chat.action_ids(candidate.action)])
                with torch.no_grad():
                    value = critic.read(critic.backbone(input_ids=whole).last_hidden_state)[0, -1]
                assert candidate.value == pytest.approx(value.item(), abs=1e-4)
            best = max(ranked[:k], key=lambda candidate: candidate.value)
            assert (decision.action, decision.action.value) == (best.action, best.value)
            assert list(decision.action.token_ids) == list(agent.chat.action_ids(best.action))
            assert sum(decision.action.logprobs) == pytest.approx(best.logprob, abs=1e-5)
            likeliest_was_not_best += best is not ranked[0]
            told[row] += decision.action.token_ids
    assert likeliest_was_not_best > 0 or k == 1


def test_constrained_needs_listed_commands(make):
    with pytest.raises(ConfigurationError, match="lists none"):
        alone(make("constrained"), STORIES[0][:1], 0)


def test_log_probability_weight_trades_value_against_likelihood(policy, tokenizer):
    nodes = torch.tensor([[[0, 1]]])
    tree = Tree.empty(1, nodes.device).grow(torch.tensor([[5, 6]]), torch.tensor([[-1, -1]]))
    proposals = Proposals(tree, nodes, torch.tensor([[[-0.5, -4.0]]]), torch.tensor([[1, 1]]))
    values = torch.tensor([[0.50, 0.52]])
    for weight, lane in ((0.0, 1), (0.03, 0)):
        agent = OreoAgent(
            policy, tokenizer, Critic.from_policy(policy), "best_of_k", k=2, logprob_weight=weight
        )
        names = [["look", "go to desk 1"]]
        assert agent._decider._best(proposals, values, names, [set()]).tolist() == [lane]


def test_the_agent_in_the_package_wins_games_it_has_never_seen():
    agent = OreoAgent.from_pretrained("small", max_new_tokens=8)
    make_env = environments(split="generated_unseen")
    episodes = rollout(make_env, [Assignment(game, 0) for game in range(12)], agent, slots=12)
    assert sum(episode.success for episode in episodes) >= 7  # 88 % of 200
