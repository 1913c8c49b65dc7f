"""Durations and numbers of runs, from the environment."""
import os

SMOKE = os.environ.get("BENCH_SMOKE") == "1"
SECONDS = float(os.environ.get("BENCH_SECONDS", 0.2 if SMOKE else 2))  # per measurement
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 1 if SMOKE else 5))  # A B C A B C ...
REPEATS = 2 if SMOKE else 20  # how many starts and stops
REQUESTS = 5_000 if SMOKE else 1_000_000  # for the memory figure; the base is taken after the first tenth
WARM_UP_S = min(0.5, SECONDS / 2)
