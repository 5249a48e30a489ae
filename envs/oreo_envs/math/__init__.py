"""Mathematics as an environment: GSM8K, MATH and procedural problems, one reasoning step per turn."""

from oreo_envs.math.grading.extraction import extract_answer as extract_answer
from oreo_envs.math.grading.extraction import states_answer as states_answer
from oreo_envs.math.grading.grade import grade as grade
