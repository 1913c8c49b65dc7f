"""The rows of the table: what each does, how often and how long, and what a watcher may report meanwhile."""
import dataclasses
import statistics
from collections.abc import Callable

from . import faults, harmless, settings

HOLD_S = 1.0  # how long a fault lasts after it was noticed, because the watcher must stay red
NEVER_S = 20.0  # a fault that is not noticed after this time counts as never noticed
WATCHED_AFTER_S = 1.0  # how long to watch after something harmless has ended
STALE_AFTER_S = 6.0  # HEALTH_STALE_AFTER
SUM_S = 13.0  # the bound of the sum of the ten medians


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    steps: Callable = None
    most_runs: int = 1 << 30

    def last(self, stage, timelines, began):
        """Waits until the fault may end. timelines(): what each watcher has reported so far."""
        raise NotImplementedError

    def complaints(self, runs):
        """Returns texts about the bounds that the runs of one watcher (measure.Run) have missed."""
        oldest = max(run.oldest_green_s for run in runs)
        return [f"a green answer was {oldest:.1f} s old"] if oldest > STALE_AFTER_S else []


@dataclasses.dataclass(frozen=True)
class Outage(Row):
    """A watcher must notice it. The bounds limit the seconds of false green, as a median and in each run."""

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
        # A fault that was over within the bound need not have been noticed.
        missed = sum(run.noticed_s is None and not self.is_over_by_itself for run in runs)
        return found + ([f"{missed} times not noticed"] if missed else [])


@dataclasses.dataclass(frozen=True)
class Harmless(Row):
    """Every answer must be green."""

    lasts_s: float = 2.0

    def last(self, stage, timelines, began):
        stage.last_until(lambda: False, self.lasts_s)

    def complaints(self, runs):
        red = sum(run.false_red_s > 0 for run in runs)
        return super().complaints(runs) + ([f"red in {red} of {len(runs)} runs"] if red else [])


@dataclasses.dataclass(frozen=True)
class OwnStop(Harmless):
    """The program cannot answer. When it can again, its data is old, and it must report stale until it has new data."""

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
    """Returns the rows that the environment chooses. ValueError: there is no row with this name."""
    names = [row.name for row in ROWS]
    for name in settings.FAULTS:
        if name not in names:
            raise ValueError(f"FAULTS: unknown fault '{name}', expected some of {','.join(names)}")
    return [row for row in ROWS if not settings.FAULTS or row.name in settings.FAULTS]


def schedule(rows, runs, random):
    """Returns (round, row, phase) for each run. A round has all rows in random order. The phases of an outage are
    stratified over the time between two logins. None: any phase."""
    spread = [row for row in rows if isinstance(row, Outage) and runs > 1]
    phases = {row: [(part + random.random()) / runs for part in random.sample(range(runs), runs)] for row in spread}
    planned = []
    for number in range(runs):
        due = [row for row in rows if number < row.most_runs]
        for row in random.sample(due, len(due)):
            planned.append((number, row, phases[row][number] if row in phases else None))
    return planned
