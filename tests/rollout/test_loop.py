"""The episode loop: every game once, whatever the number of slots, and a truthful record of what happened."""

import tracemalloc
from types import SimpleNamespace

import gymnasium as gym
import pytest
from learning import ToyRoom, Visitor
from oreo_envs.errors import GameFileError

from oreo_agents.agents.agent import Assignment, Decision
from oreo_agents.evaluation.evaluate import play_games
from oreo_agents.rollout.loop import rollout
from oreo_agents.rollout.schedule import restore_order
from oreo_agents.trajectory import Action

LIMIT = 5


def rooms(diary=None):
    return lambda: gym.wrappers.TimeLimit(ToyRoom(diary), LIMIT)


def by_seed(trajectories):
    return {trajectory.seed: trajectory for trajectory in trajectories}


GAMES = [Assignment(game, seed=100 + game) for game in range(7)]


@pytest.mark.parametrize("slots", [1, 3, 7, 64])
def test_every_game_is_played_once_whatever_the_slots(slots):
    diary = []
    played = list(rollout(rooms(diary), GAMES, Visitor(), slots))
    assert sorted(diary) == [episode.game for episode in GAMES]
    assert by_seed(played) == by_seed(rollout(rooms(), GAMES, Visitor(), 2))
    assert len(played) == len(GAMES)


def test_an_episode_is_recorded_turn_by_turn():
    (episode,) = rollout(rooms(), [Assignment(1, seed=4)], Visitor())
    opening = "You see a desk 1, a desk 2, and a desk 3. Your task is to: find it in room 1."
    assert [turn.observation for turn in episode.turns] == [opening, "On the desk 1, you see nothing."]
    assert [turn.action for turn in episode.turns] == ["go to desk 1", "go to desk 2"]
    assert [turn.reward for turn in episode.turns] == [0.0, 1.0]
    assert [turn.action_status for turn in episode.turns] == ["ok", "ok"]
    assert episode.final_observation == "On the desk 2, you see nothing."
    assert (episode.game, episode.task, episode.task_type, episode.seed) == ("room-1", "find it", "kind-1", 4)
    assert (episode.agent, episode.tokenizer) == ("visitor", None)
    assert (episode.terminated, episode.truncated, episode.success) == (True, False, True)
    assert episode.metadata["tokens"] == {"prompt": 10, "generated": 4, "critic": 2}


def test_a_turn_keeps_what_could_have_been_done():
    """Of commands that the environment lists, as the recorder keeps them; of marks that the agent makes, too."""

    class Listing(ToyRoom):
        def _info(self, status=None, won=False):
            return {
                **super()._info(status, won),
                "admissible_commands": [f"go to desk {self.game}", str(status)],
            }

    class Slipping(Visitor):
        def act_many(self, slots, observations, infos):
            decisions = super().act_many(slots, observations, infos)
            return [
                Decision(decision.action.amend(noise=self.visits[slots[0]] == 2)) for decision in decisions
            ]

    make_env = lambda: gym.wrappers.TimeLimit(Listing(), LIMIT)  # noqa: E731
    (episode,) = rollout(make_env, [Assignment(2, seed=0)], Slipping())
    offered = [turn.admissible_commands for turn in episode.turns]
    assert offered == [("go to desk 2", "None"), *[("go to desk 2", "ok")] * 2]
    assert episode.metadata == {"noise_turns": [1]}


def test_the_step_limit_is_a_truncation_and_no_success():
    (episode,) = rollout(rooms(), [Assignment(2, seed=0)], Visitor(desks=(1,)))
    assert len(episode) == LIMIT
    assert (episode.terminated, episode.truncated, episode.success) == (False, True, False)


def test_a_slot_takes_the_next_game_at_once():
    """Games that end after one step do not wait for one that runs to the limit."""

    class Counting(Visitor):
        calls = 0

        def act_many(self, slots, observations, infos):
            self.calls += 1
            return super().act_many(slots, observations, infos)

    agent = Counting(desks=(1,))  # wins games 0, 3, 6, 9 in one step, loses game 1 after five
    games = [Assignment(game, seed=i) for i, game in enumerate((1, 0, 3, 6, 9, 0))]
    order = [episode.game for episode in rollout(rooms(), games, agent, slots=2)]
    assert order == ["room-0", "room-3", "room-6", "room-9", "room-1", "room-0"] or order[4] != order[5]
    assert agent.calls == LIMIT


@pytest.mark.parametrize("slots", [1, 3])
def test_a_damaged_game_is_told_and_the_others_are_played(slots):
    class Damaged(ToyRoom):
        def reset(self, *, seed=None, options=None):
            if options["game"] in (0, 3):
                raise GameFileError(f"room-{options['game']} is damaged")
            return super().reset(seed=seed, options=options)

    played = play_games(lambda: gym.wrappers.TimeLimit(Damaged(), LIMIT), Visitor(), range(5), slots=slots)
    failed = [trajectory for trajectory in played if trajectory.metadata.get("failed")]
    assert [trajectory.metadata["ended"] for trajectory in failed] == [
        "room-0 is damaged",
        "room-3 is damaged",
    ]
    assert [trajectory.game for trajectory in failed] == ["0", "3"] and not any(map(len, failed))
    assert [trajectory.game for trajectory in played if trajectory.turns] == ["room-1", "room-2", "room-4"]


def test_nothing_to_play_builds_nothing():
    def never():
        raise AssertionError("an environment was built")

    assert list(rollout(never, [], Visitor())) == []


def test_environments_are_closed_even_when_the_reader_stops():
    closed = []

    class Closing(ToyRoom):
        def close(self):
            closed.append(self)

    played = rollout(lambda: gym.wrappers.TimeLimit(Closing(), LIMIT), GAMES, Visitor(), slots=3)
    next(played)
    played.close()
    assert len(set(map(id, closed))) == 3


def test_an_agent_that_cannot_go_on_ends_its_episode_alone():
    class Tired(Visitor):
        """Gives up in its second turn; the machinery of game 5 breaks at once."""

        def act_many(self, slots, observations, infos):
            decisions = super().act_many(slots, observations, infos)
            for i, slot in enumerate(slots):
                if infos[i]["game"] == "room-5":
                    decisions[i] = Decision(Action(""), end="no answer", failed=True)
                elif self.visits[slot] == 2:
                    decisions[i] = Decision(Action(""), prompt_tokens=3, end="tired")
            return decisions

    played = by_seed(rollout(rooms(), GAMES, Tired(), slots=3))
    assert [len(played[100 + game]) for game in range(7)] == [1, 1, 1, 1, 1, 0, 1]
    assert played[100].success and played[100].metadata == {
        "tokens": {"prompt": 5, "generated": 2, "critic": 1}
    }
    assert (played[101].terminated, played[101].truncated) == (False, True)
    assert played[101].metadata["ended"] == "tired" and "failed" not in played[101].metadata
    assert played[101].metadata["tokens"]["prompt"] == 5 + 3
    assert played[105].metadata["ended"] == "no answer" and played[105].metadata["failed"]


@pytest.mark.parametrize(
    "said",
    [
        "",
        " \n ",
        "I think the mug is on the desk.",
        "look " * 10_000,
        "\x00\x1b[31mlook\x07",
        "<b>look</b>",
        "[red]",
    ],
    ids=["empty", "blank", "prose", "10,000 words", "control", "markup", "rich markup"],
)
def test_whatever_an_agent_says_alfworld_counts_it_as_invalid(said):
    from oreo_agents.environments import environments
    from oreo_agents.evaluation.results import summarise_episodes

    class Babbler(Visitor):
        def act_many(self, slots, observations, infos):
            return [Decision(Action(said)) for _ in slots]

    played = list(rollout(environments(max_steps=3, split="generated"), [Assignment(0, 0)], Babbler()))
    assert summarise_episodes(played, "babble").invalid_action_rate == 1.0
    assert "cut_turns" not in played[0].metadata
    assert [turn.observation for turn in played[0].turns[1:]] == ["Nothing happens."] * 2


def test_replies_that_were_cut_are_counted():
    from oreo_agents.environments import environments

    class LongWinded(Visitor):
        def act_many(self, slots, observations, infos):
            return [Decision(Action("look", cut=True)) for _ in slots]

    played = list(rollout(environments(max_steps=3, split="generated"), [Assignment(0, 0)], LongWinded()))
    assert played[0].metadata["cut_turns"] == [0, 1, 2]


MANY = 50_000


def peak_of(work):
    """The most that is allocated beside what is there, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_step_copies_nothing_of_what_waits():
    """Beside millions of waiting episodes, a copy of their list at every step is what the step costs."""
    playing = rollout(rooms(), [Assignment(0, seed=seed) for seed in range(MANY)], Visitor(), slots=4)
    next(playing)
    assert peak_of(lambda: [next(playing) for _ in range(20)]) < MANY * 8 / 4


def test_what_is_passed_on_in_order_is_kept_no_longer():
    plan = [Assignment("room", seed=seed) for seed in range(MANY)]
    played = (SimpleNamespace(game="room", seed=seed ^ 1) for seed in range(MANY))
    counted = []
    peak = peak_of(
        lambda: counted.append(sum(one.seed == i for i, one in enumerate(restore_order(played, plan))))
    )
    assert counted == [MANY] and peak < MANY


def test_order_is_restored_where_the_same_episode_is_played_twice():
    twice = [Assignment("a", seed=1), Assignment("b", seed=1), Assignment("a", seed=1)]
    played = [SimpleNamespace(game=name, seed=1, place=place) for place, name in enumerate("aab")]
    assert [(one.game, one.place) for one in restore_order(iter(played), twice)] == [
        ("a", 0),
        ("b", 2),
        ("a", 1),
    ]
