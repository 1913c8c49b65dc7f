"""How long and how often; from the environment."""
import os

SMOKE = os.environ.get("BENCH_SMOKE") == "1"
SECONDS = float(os.environ.get("BENCH_SECONDS", 0.2 if SMOKE else 2))  # of each measurement
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 1 if SMOKE else 5))  # A B C A B C ...
REPEATS = 2 if SMOKE else 20  # of a start, a stop
REQUESTS = 5_000 if SMOKE else 1_000_000  # of the memory figure; the first tenth of them is the base
WARM_UP_S = min(0.5, SECONDS / 2)
