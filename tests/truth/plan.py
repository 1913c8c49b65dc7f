"""The rows of the table: what is done, how often and for how long, and what a watcher may say meanwhile."""
import dataclasses
import statistics
from collections.abc import Callable

from . import faults, harmless, settings

HOLD_S = 1.0  # a fault lasts this much longer than it takes to be noticed, for it must stay noticed
NEVER_S = 20.0  # what is not noticed by then is not noticed at all
WATCHED_AFTER_S = 1.0  # how long the end of something harmless is watched
STALE_AFTER_S = 6.0  # HEALTH_STALE_AFTER
SUM_S = 13.0  # of the medians of the ten


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    steps: Callable = None
    most_runs: int = 1 << 30

    def last(self, stage, timelines, began):
        """Waits for as long as it is to last. timelines(): what each watcher said so far."""
        raise NotImplementedError

    def complaints(self, runs):
        """In what the runs of one watcher (measure.Run) do not keep the bounds: texts."""
        oldest = max(run.oldest_green_s for run in runs)
        return [f"a green answer was {oldest:.1f} s old"] if oldest > STALE_AFTER_S else []


@dataclasses.dataclass(frozen=True)
class Outage(Row):
    """Is to be noticed. Bounds of the seconds of false green: of the median, and of each run."""

    median_s: float = None
    worst_s: float = None
    is_of_the_ten: bool = True
    is_over_by_itself: bool = False

    def last(self, stage, timelines, began):
        if not self.is_over_by_itself:
            stage.last_until(lambda: all(timeline.first(False, began) for timeline in timelines()), NEVER_S)
            stage.last_until(lambda: False, HOLD_S)

    def complaints(self, runs):
        found, took = super().complaints(runs), [run.false_green_s for run in runs]
        if len(runs) >= settings.FEWEST_FOR_A_MEDIAN and self.median_s and statistics.median(took) > self.median_s:
            found.append(f"median {statistics.median(took):.2f} s")
        if max(took) > self.worst_s:
            found.append(f"worst {max(took):.2f} s")
        missed = sum(run.noticed_s is None for run in runs)
        return found + ([f"{missed} times not noticed"] if missed else [])


@dataclasses.dataclass(frozen=True)
class Harmless(Row):
    """Every answer is to be green."""

    lasts_s: float = 2.0

    def last(self, stage, timelines, began):
        stage.last_until(lambda: False, self.lasts_s)

    def complaints(self, runs):
        red = sum(run.false_red_s > 0 for run in runs)
        return super().complaints(runs) + ([f"red in {red} of {len(runs)} runs"] if red else [])


@dataclasses.dataclass(frozen=True)
class OwnStop(Harmless):
    """The program cannot answer; when it can again, what it knows is old, and it is to say so until it has asked."""

    back_s: float = 1.0

    def complaints(self, runs):
        found, slowest = Row.complaints(self, runs), max(run.recovery_s for run in runs)
        if slowest > self.back_s:
            found.append(f"green again after {slowest:.2f} s")
        return found + [f"said {run.says}" for run in runs if run.says not in (None, "database stale")]


QUIET = Harmless("no_fault")  # the time between two rows

ROWS = (
    Outage("server_frozen", faults.server_frozen, median_s=1.0, worst_s=1.5),
    Outage("postmaster_frozen", faults.postmaster_frozen, median_s=5.5, worst_s=5.5),
    Outage("login_refused", faults.login_refused, median_s=5.5, worst_s=5.5),
    Outage("no_connection_left", faults.no_connection_left, median_s=5.5, worst_s=5.5),
    Outage("server_stopped", faults.server_stopped, median_s=0.2, worst_s=1.0),
    Outage("black_hole", faults.black_hole, median_s=1.0, worst_s=1.5),
    Outage("table_dropped", faults.table_dropped, worst_s=2.5),
    Outage("table_locked", faults.table_locked, worst_s=3.5),
    Outage("table_too_small", faults.table_too_small, worst_s=2.5),
    Outage("server_crashed", faults.server_crashed, median_s=0.2, worst_s=1.0, is_over_by_itself=True),
    Outage("server_frozen_busy", faults.server_frozen_busy, worst_s=3.0, is_of_the_ten=False),
    Harmless("session_frozen", harmless.session_frozen, lasts_s=5),
    Harmless("session_frozen_counting", harmless.session_frozen_counting, lasts_s=5, most_runs=3),
    Harmless("session_terminated", harmless.session_terminated),
    Harmless("server_reloaded", harmless.server_reloaded),
    Harmless("syn_lost", harmless.syn_lost, lasts_s=3),
    Harmless("machine_busy", harmless.machine_busy, lasts_s=60, most_runs=1),
    OwnStop("health_api_stopped", harmless.health_api_stopped, lasts_s=10, most_runs=3),
)


def chosen():
    """The rows that the environment asks for. ValueError: there is none of that name."""
    names = [row.name for row in ROWS]
    for name in settings.FAULTS:
        if name not in names:
            raise ValueError(f"FAULTS: unknown fault '{name}', expected some of {','.join(names)}")
    return [row for row in ROWS if not settings.FAULTS or row.name in settings.FAULTS]


def schedule(rows, runs, random):
    """(round, row, phase) for each run. A round has all rows, in an order of its own. The phases of an outage are
    spread evenly over the time between two logins, at random within each part. None: the phase is as it comes."""
    spread = [row for row in rows if isinstance(row, Outage) and runs > 1]
    phases = {row: [(part + random.random()) / runs for part in random.sample(range(runs), runs)] for row in spread}
    planned = []
    for number in range(runs):
        due = [row for row in rows if number < row.most_runs]
        for row in random.sample(due, len(due)):
            planned.append((number, row, phases[row][number] if row in phases else None))
    return planned
