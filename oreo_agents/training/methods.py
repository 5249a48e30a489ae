"""The table of methods: what each learns from recorded episodes. The losses stand here by their names, without torch.

Every method sees the same batches and masks, so that a comparison compares the losses and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Value = Literal["soft", "expectile"]
States = Literal["tokens", "turns", "start"]
ItemKind = Literal["episodes", "successes", "pairs", "mismatches", "sampled", "groups", "valued", "compared"]

IMITATE_MORE = (
    "imitate a better player (--method sft), or the same one longer "
    "(more --epochs, in a suite epochs under [sft])"
)
"""What helps a policy that wins nothing, from which no method can learn."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A way to learn from recorded episodes; objectives.py computes it."""

    summary: str
    """For the model card."""
    policy_loss: str
    """A function of losses.py; it is given what the names of its parameters ask for."""
    value: Value | None = None
    """What the critic learns: soft returns (Eq. 8), or an expectile of its own estimates (IQL). None: no critic."""
    states: States = "tokens"
    """Where it is trained: before every action token and after every action, before and after every action, or before
    the first action alone."""
    items: ItemKind = "episodes"
    """What is drawn at random: episodes, good ones, pairs of a good one and another of the same game, episodes each
    with one that follows another's prompt (for KTO's reference point only), episodes whose log-probabilities were
    recorded when they were sampled, groups of episodes after the same prompt, or episodes with recorded
    log-probabilities that each know what the others after their prompt came to (valued), or how much better every turn
    was than theirs (compared). Which are good is an option.
    Log-probabilities (sampled, valued, compared) are those of the distribution that was drawn from, with temperature
    and filters: ``Turn.behaviour_logprobs``. No method needs those of all that the policy could say."""
    regularised: bool = False
    """alpha * L_reg is added to the policy's loss."""
    beta: float = 0.03
    alpha: float = 0.01

    @property
    def imitates(self) -> bool:
        """Every token of a batch weighs the same; in all others every episode does."""
        return self.policy_loss == "imitation_loss"

    @property
    def reference(self) -> bool:
        """The start is kept, for log-ratios."""
        return not self.imitates

    @property
    def prefers(self) -> bool:
        """It tells good episodes from the others, and learns from no return."""
        return self.imitates or self.items in ("pairs", "mismatches") or self.policy_loss == "tapered_loss"

    @property
    def tempered(self) -> bool:
        """beta weighs something."""
        return self.reference and self.policy_loss not in ("tapered_loss", "clipped_loss")

    @property
    def soft_mean(self) -> bool:
        """V of a prompt is a soft mean of what its episodes came to."""
        return self.items == "valued"

    @property
    def measures(self) -> bool:
        """The unit of the returns matters to it."""
        return self.critic or self.items in ("groups", "valued")

    @property
    def selects(self) -> bool:
        """It learns from the good episodes, or from pairs with them: of these there are fewer than episodes."""
        return self.items in ("successes", "pairs")

    @property
    def critic(self) -> bool:
        """There is one."""
        return self.value is not None

    @property
    def soft(self) -> bool:
        """The critic learns soft returns."""
        return self.value == "soft"

    @property
    def implicit(self) -> bool:
        """The critic learns an expectile."""
        return self.value == "expectile"

    @property
    def judges_actions(self) -> bool:
        """The critic learns soft returns after actions, too."""
        return self.soft and self.states != "start"

    @property
    def observes(self) -> bool:
        """Something can learn to predict observations: the policy in imitation, or the critic's trunk."""
        return self.imitates or self.critic

    @property
    def rows(self) -> int:
        """Episodes in an item."""
        return 2 if self.items in ("pairs", "mismatches") else 1


_TOKEN = Objective("token-level OREO (Eqs. 8 and 9)", "token_policy_loss", "soft", "tokens", regularised=True)

METHODS: dict[str, Objective] = {
    "sft": Objective("imitate every episode", "imitation_loss"),
    "rejection": Objective("imitate the successful episodes", "imitation_loss", items="successes"),
    "oreo": _TOKEN,
    "oreo-token": _TOKEN,
    "oreo-step": Objective(
        "step-level OREO: turns as actions", "step_policy_loss", "soft", "turns", regularised=True, alpha=0.1
    ),
    "oreo-response": Objective(
        "response-level OREO (Eq. 10)", "response_policy_loss", "soft", regularised=True, alpha=0.3
    ),
    "pcl": Objective(
        "multi-step path consistency without stop-gradient (PCL, DQO)",
        "path_policy_loss",
        "soft",
        regularised=True,
    ),
    "pcl-one-step": Objective("one-step path consistency", "one_step_policy_loss", "soft", regularised=True),
    "dro": Objective(
        "DRO-V (arXiv 2405.19107): one error an episode, V of the prompt",
        "response_policy_loss",
        "soft",
        "start",
    ),
    "iql": Objective(
        "turn-level implicit Q-learning (arXiv 2110.06169)",
        "advantage_weighted_loss",
        "expectile",
        "turns",
        beta=0.3,
    ),
    "dpo": Objective(
        "DPO (arXiv 2305.18290) on pairs of episodes of the same game", "dpo_loss", items="pairs", beta=0.1
    ),
    "kto": Objective("KTO (arXiv 2402.01306)", "kto_loss", items="mismatches", beta=0.1),
    "topr": Objective(
        "TOPR (arXiv 2503.14286): good episodes imitated, the others unlearnt as long as they are likely",
        "tapered_loss",
        items="sampled",
    ),
    "tba": Objective(
        "trajectory balance (TBA, arXiv 2503.18929): one error an episode, V the mean of its group",
        "balance_loss",
        items="groups",
    ),
    "oapl": Objective(
        "OAPL (arXiv 2602.19362): one error an episode, V the soft mean of what its prompt came to",
        "optimal_advantage_loss",
        items="valued",
        beta=1e-3,
    ),
    "gigpo": Objective(
        "offline GiGPO (arXiv 2505.10978): advantages among episodes of a game and among turns in the same state",
        "clipped_loss",
        items="compared",
        regularised=True,
    ),
}
"""``OreoConfig.method``; ``oreo`` and ``oreo-token`` are the same."""
