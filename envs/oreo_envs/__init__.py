"""Text environments for language agents: ALFWorld on a native engine.

Importing this package registers the Gymnasium ids and loads neither torch nor textworld.
"""

from gymnasium.envs.registration import register

register(
    id="OREO-ALFWorld",
    entry_point="oreo_envs.alfworld.env:ALFWorldEnv",
    vector_entry_point="oreo_envs.alfworld.vector:ALFWorldVectorEnv",
    max_episode_steps=50,
)
register(id="OREO-TextWorld", entry_point="oreo_envs.textworld:TextWorldEnv", max_episode_steps=100)
register(id="OREO-GSM8K", entry_point="oreo_envs.math.env:GSM8KEnv", max_episode_steps=50)
register(id="OREO-MATH", entry_point="oreo_envs.math.env:MATHEnv", max_episode_steps=50)
register(id="OREO-Reasoning", entry_point="oreo_envs.math.env:ReasoningEnv", max_episode_steps=50)
