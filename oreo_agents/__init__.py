"""oreo_agents: offline RL for language agents in text environments (OREO, arXiv 2412.16145).

Importing this package registers the Gymnasium ids (``OREO-ALFWorld``, ...) and stays light:
torch, transformers and textworld are loaded only by the names that need them.
"""

import oreo_envs as oreo_envs
