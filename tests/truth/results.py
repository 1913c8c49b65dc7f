"""Prints the results as a table, and saves them as JSON."""
import collections
import dataclasses
import json
import statistics

from . import plan, settings


HEAD = f"{'median':>7} {'worst':>7}"


def _two(values):
    return f"{statistics.median(values):7.2f} {max(values):7.2f}"


def _bounds(row):
    return " ".join(f"{bound:5.1f}" if bound else f"{'-':>5}" for bound in (row.median_s, row.worst_s))


def _says(runs):
    said = collections.Counter(run.says for run in runs if run.says).most_common()
    return ", ".join(what if count == len(runs) else f"{what} ({count})" for what, count in said)


class Results:
    def __init__(self, machine, rows):
        self.machine, self.rows = machine, rows
        self.runs = {}  # watcher -> row name -> [Run]
        self.not_here = {}  # row name -> why

    def add(self, watcher, run):
        self.runs.setdefault(watcher, {}).setdefault(run.row, []).append(run)

    def _sum(self, watcher):
        """Returns the sum of the ten medians; None: some fault has too few runs."""
        medians = []
        for row in plan.ROWS:
            if isinstance(row, plan.Outage) and row.is_of_the_ten:
                runs = self.runs[watcher].get(row.name, [])
                if len(runs) < settings.FEWEST_FOR_A_MEDIAN:
                    return None
                medians.append(statistics.median(run.false_green_s for run in runs))
        return sum(medians)

    def complaints(self, watcher):
        """Returns row name -> which bounds were missed, for rows that missed one."""
        found = {row.name: row.complaints(self.runs[watcher][row.name])
                 for row in (*self.rows, plan.QUIET) if row.name in self.runs[watcher]}
        total = self._sum(watcher)
        if total is not None and total > plan.SUM_S:
            found["sum"] = [f"{total:.2f} s"]
        return {name: texts for name, texts in found.items() if texts}

    def print_table(self, watcher):
        complaints, measured = self.complaints(watcher), self.runs[watcher]

        def verdict(name):
            return "MISSED " + ", ".join(complaints[name]) if name in complaints else "met"
        print(f"\n{watcher}, seconds\n{'':23} {'':4} {'false green':>15} {'bound':>11} {'recovery':>15}\n"
              f"{'fault':23} {'runs':4} {HEAD} {'med.':>5} {'worst':>5} {HEAD}  verdict; what was said")
        for row in self.rows:
            if isinstance(row, plan.Outage) and row.name in measured:
                runs = measured[row.name]
                print(f"{row.name:23} {len(runs):4} {_two([run.false_green_s for run in runs])} {_bounds(row)}"
                      f" {_two([run.recovery_s for run in runs])}  {verdict(row.name)}; {_says(runs)}")
        total = self._sum(watcher)
        if total is not None:
            print(f"{'sum of the ten':23} {'':4} {total:7.2f} {'':7} {plan.SUM_S:5.1f} {'':21}  {verdict('sum')}")
        print(f"\n{'no fault':23} runs  red, all runs  verdict; what was said")
        for row in (*self.rows, plan.QUIET):
            if isinstance(row, plan.Harmless) and row.name in measured:
                runs = measured[row.name]
                red = sum(run.recovery_s if isinstance(row, plan.OwnStop) else run.false_red_s for run in runs)
                print(f"{row.name:23} {len(runs):4} {red:14.2f}  {verdict(row.name)}; {_says(runs)}".rstrip("; "))
        widest = max((run for runs in measured.values() for run in runs), key=lambda run: run.gap_s)
        print(f"\nlongest time without an answer: {widest.gap_s:.2f} s, in {widest.row}")
        for name, why in self.not_here.items():
            print(f"{name}: not measured, {why}")

    def save(self, path):
        document = {"machine": self.machine, "seed": settings.SEED, "not_measured": self.not_here,
                    "watchers": {watcher: {"sum_of_medians_s": self._sum(watcher),
                                           "sum_bound_s": plan.SUM_S,
                                           "missed": self.complaints(watcher),
                                           "runs": [dataclasses.asdict(run) for runs in rows.values() for run in runs]}
                                 for watcher, rows in self.runs.items()}}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
