"""What the tests of the learning half share: a few episodes, tiny decoders, and a toy text environment."""

import gymnasium as gym

from oreo_agents.agents.agent import Decision
from oreo_agents.trajectory import Action, Trajectory, Turn

OPENING = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
    "a desk 2, a desk 1, a drawer 1, a fridge 1, a microwave 1, a sinkbasin 1, and a shelf 1.\n\n"
    "Your task is to: put a clean mug in shelf."
)

WINNING = (
    ("go to drawer 1", "You arrive at drawer 1. The drawer 1 is closed."),
    ("open drawer 1", "You open the drawer 1. The drawer 1 is open. In it, you see nothing."),
    ("go to desk 1", "You arrive at desk 1. On the desk 1, you see a mug 1, a pen 2, and a desklamp 1."),
    ("take mug 1 from desk 1", "You pick up the mug 1 from the desk 1."),
    ("inventory", "You are carrying: a mug 1."),
    ("go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing."),
    ("clean mug 1 with sinkbasin 1", "You clean the mug 1 using the sinkbasin 1."),
    ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see nothing."),
    ("move mug 1 to shelf 1", "You move the mug 1 to the shelf 1."),
)

LOSING = (
    ("go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed."),
    ("heat mug 1 with microwave 1", "Nothing happens."),
    ("look", "You are facing the fridge 1. Next to it, you see nothing."),
    ("examine desk 1", "There's nothing special about desk 1."),
)


def episode(steps=WINNING, won=True, opening=OPENING, **fields):
    """A trajectory of (command, answer) pairs; the last command earns the reward if it was won."""
    observations = [opening, *(answer for _, answer in steps)]
    turns = tuple(
        Turn(seen, command, float(won and i == len(steps) - 1))
        for i, (seen, (command, _)) in enumerate(zip(observations, steps, strict=False))
    )
    final = observations[-1]
    fields = {"env_id": "OREO-ALFWorld", **fields}
    return Trajectory(turns, terminated=won, truncated=not won, final_observation=final, **fields)


EPISODES = (episode(), episode(LOSING, won=False), episode(WINNING[2:5], won=False))


def random_decoder(kind, vocabulary, heads=4, kv_heads=2, seed=0, reads=512):
    """A decoder of two layers with random weights, strong enough for every token to matter.

    Args:
        kind: ``qwen3`` or ``llama``.
        vocabulary: its size.
        heads: query heads.
        kv_heads: key-value heads.
        seed: of the weights.
        reads: tokens at most.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    config_class, model_class = {
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
        "llama": (LlamaConfig, LlamaForCausalLM),
    }[kind]
    torch.manual_seed(seed)
    config = config_class(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=8,
        max_position_embeddings=reads,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    )
    return model_class(config).eval()


class ToyRoom(gym.Env):
    """Three desks, one of which wins; the name of the game says which. Keeps a diary of the games begun."""

    observation_space = gym.spaces.Text(10_000)
    action_space = gym.spaces.Text(10_000)
    games = tuple(f"room-{i}" for i in range(12))

    def __init__(self, diary=None):
        self.diary = [] if diary is None else diary

    def _info(self, status=None, won=False):
        info = {
            "game": self.games[self.game],
            "task": "find it",
            "task_type": f"kind-{self.game % 2}",
            "won": won,
        }
        return info if status is None else {**info, "action_status": status}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.game = options["game"]
        self.diary.append(self.game)
        return (
            f"You see a desk 1, a desk 2, and a desk 3. Your task is to: find it in room {self.game}.",
            self._info(),
        )

    def step(self, action):
        if action not in {"go to desk 1", "go to desk 2", "go to desk 3"}:
            return "Nothing happens.", 0.0, False, False, self._info("unparsable")
        won = int(action[-1]) == self.game % 3 + 1
        return f"On the {action[6:]}, you see nothing.", float(won), won, False, self._info("ok", won)

    def clone_state(self):
        return self.game

    def restore_state(self, state):
        self.game = state


class Visitor:
    """Goes from desk to desk, for ever if `desks` is one that does not win; remembers per slot where it is."""

    name, tokenizer_fingerprint, needs = "visitor", None, frozenset()

    def __init__(self, desks=(1, 2, 3)):
        self.desks = desks

    def prepare(self, slots):
        self.visits = [None] * slots

    def begin(self, slots, assignments):
        for slot in slots:
            self.visits[slot] = 0

    def act_many(self, slots, observations, infos):
        assert len(slots) == len(observations) == len(infos)
        decisions = []
        for slot in slots:
            desk = self.desks[self.visits[slot] % len(self.desks)]
            self.visits[slot] += 1
            decisions.append(Decision(Action(f"go to desk {desk}"), 5, 2, 1))
        return decisions

    def follow(self, slots, observations, infos, actions):
        for slot in slots:
            self.visits[slot] += 1
