"""Which faults to run and how often, from the environment."""
import os
import random

RUNS = int(os.environ.get("RUNS", 10))  # of each fault
FAULTS = [name for name in os.environ.get("FAULTS", "").split(",") if name]  # none: all
SEED = int(os.environ.get("SEED") or random.randrange(1 << 31))
FEWEST_FOR_A_MEDIAN = 5  # with fewer runs only the worst one is judged
