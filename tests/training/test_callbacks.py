"""What is shown and logged while a policy is trained, and that looking changes nothing."""

import dataclasses

import pytest
import torch
from learning import EPISODES

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.terminal.training_progress import TrainingProgress
from oreo_agents.training.train import train


@pytest.fixture
def trained(tmp_path, policy, tokenizer):
    save_agent(tmp_path / "start", policy, tokenizer)

    def trained(play=None, progress=None, patience=None, max_new_tokens=32, max_steps=3):
        options = {"max_steps": max_steps, "warmup_steps": 0, "learning_rate": 1e-3, "logging_steps": 1}
        options |= {
            "overwrite": True,
            "bf16": False,
            "use_cpu": True,
            "callbacks": [progress] if progress else [],
        }

        def plays(networks):
            episodes = play(OreoAgent(*networks, max_new_tokens=max_new_tokens))
            return progress.watch(episodes) if progress else episodes

        options |= {"play": plays, "eval_every": 2, "patience": patience} if play else {}
        return train("oreo", EPISODES, tmp_path / "start", tmp_path / "out", **options)

    return trained


def test_the_policy_is_judged_every_so_many_steps_and_at_the_end(trained):
    agents = []

    def play(agent):
        agents.append(agent)
        agent.reset()
        agent.act("You see a door.")
        return EPISODES

    trainer = trained(play)
    logged = [line for line in trainer.state.log_history if "eval_success" in line]
    won = sum(episode.success for episode in EPISODES)
    assert [line["step"] for line in logged] == [2, 3]
    assert logged[0]["eval_success"] == pytest.approx(won / len(EPISODES))
    assert (logged[0]["eval_return"], logged[0]["eval_episodes"]) == pytest.approx((won / 3, 3))
    assert all(isinstance(agent, OreoAgent) and agent.policy is trainer.policy for agent in agents)
    assert "eval_cut_action_rate" not in logged[0]
    unwatched = trained().policy.state_dict()
    for name, weight in trainer.policy.state_dict().items():
        assert torch.equal(weight, unwatched[name]), name


def test_cut_replies_are_told_where_the_policy_is_judged(trained):
    turns = len(EPISODES[0])
    trainer = trained(lambda agent: [dataclasses.replace(EPISODES[0], metadata={"cut_turns": [0]})])
    logged = [line for line in trainer.state.log_history if "eval_success" in line]
    assert logged[0]["eval_cut_action_rate"] == 1 / turns


def test_actions_may_be_longer_while_the_policy_is_judged(trained):
    lengths = []
    trained(lambda agent: lengths.append(agent.selection.max_new_tokens) or EPISODES, max_new_tokens=100)
    assert lengths == [100, 100]


def test_episodes_that_a_server_broke_off_do_not_count(trained):
    broken = dataclasses.replace(EPISODES[1], metadata={"failed": "no answer"})
    trainer = trained(lambda agent: [EPISODES[0], broken])
    (first, _) = (line for line in trainer.state.log_history if "eval_success" in line)
    assert (first["eval_success"], first["eval_episodes"]) == (1.0, 1)


def test_a_pipe_gets_losses_and_successes_as_lines(trained, capsys):
    trained(lambda agent: EPISODES, TrainingProgress("oreo"))
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("oreo 1/3  loss ") and "KL" in line and "EV" in line for line in lines)
    assert any(line.startswith("oreo 2  ") and "won [" in line for line in lines)


def test_how_the_policy_plays_stands_beside_its_step(capsys):
    """Also where winning is not defined: a pipe's heartbeat has the first two lines."""
    progress = TrainingProgress("oreo")
    progress.step = 40
    list(progress.watch([dataclasses.replace(one, outcome="undefined") for one in EPISODES]))
    _, line, *rest = map(str, progress._lines())
    assert line.startswith("policy of step 40: mean return 0.333 [")
    assert not any("mean return" in other for other in rest)


def test_training_stops_when_success_does_and_the_best_policy_is_kept(trained):
    """Success at steps 2, 4, 6, 8: none, all, none, none; two evaluations without a better one are enough."""
    verdicts = iter([EPISODES[1:], EPISODES[:1], EPISODES[1:], EPISODES[1:], EPISODES[:1]])
    seen = []

    def play(agent):
        seen.append({name: x.clone() for name, x in agent.policy.state_dict().items()})
        return next(verdicts)

    trainer = trained(play, max_steps=20, patience=2)
    assert trainer.state.global_step == 8 and len(seen) == 4
    for name, x in trainer.policy.state_dict().items():
        assert torch.equal(x, seen[1][name]), name
    assert any(not torch.equal(x, seen[3][name]) for name, x in seen[1].items())
