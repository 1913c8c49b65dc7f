"""The results: series of samples with median and spread, the figures with their targets, and the table."""
import json
import statistics


class Series:
    def __init__(self, samples, unit, label):
        self.samples, self.unit, self.label = samples, unit, label

    @property
    def median(self):
        return statistics.median(self.samples)

    def __str__(self):
        return f"{number(self.median)} ({number(min(self.samples))}-{number(max(self.samples))}) {self.unit}"

    def as_json(self):
        return {"label": self.label, "unit": self.unit, "median": self.median, "min": min(self.samples),
                "max": max(self.samples), "samples": self.samples}


def number(value):
    """Formats with three significant digits."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


class Results:
    def __init__(self, machine):
        self.machine = machine
        self.series = {}  # group -> name -> Series
        self.figures = []

    def add(self, group, name, samples, unit, label):
        self.series.setdefault(group, {})[name] = Series(list(samples), unit, label)

    def median(self, group, name):
        return self.series[group][name].median

    def judge(self, figure, value, target, measured, unit="", at_least=False):
        """Adds a row to the table that compares two numbers, measured and target. value: the text that the row shows."""
        met = measured >= target if at_least else measured <= target
        self.figures.append({"figure": figure, "value": str(value), "measured": measured, "unit": unit,
                             "target": target, "at_least": at_least, "met": met})

    def judge_ratio(self, figure, group, name, than, target, at_least=False):
        """Judges the median of the ratios of two series, round by round: other load on the machine slows both in the same
        round."""
        ours, theirs = self.series[group][name], self.series[group][than]
        ratios = Series([a / b for a, b in zip(ours.samples, theirs.samples)], "x", "")
        self.judge(f"{figure} / {theirs.label}",
                   f"{number(ours.median)} : {number(theirs.median)} {ours.unit}, by round {ratios}", target,
                   ratios.median, "x", at_least)

    def save(self, path):
        document = {"machine": self.machine, "figures": self.figures,
                    "series": {group: {name: series.as_json() for name, series in members.items()}
                               for group, members in self.series.items()}}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")

    def print_table(self):
        for group, members in self.series.items():
            print(f"\n{group}\n" + "\n".join(f"  {series.label:<46} {series}" for series in members.values()))
        print(f"\n{'figure':<72} {'measured':>10}  {'target':>10}")
        for row in self.figures:
            measured, target = (f"{number(row[key])} {row['unit']}" for key in ("measured", "target"))
            target = (">= " if row["at_least"] else "<= ") + target
            print(f"{row['figure']:<72} {measured:>10}  {target:>10}  {'met' if row['met'] else 'MISSED'}"
                  f"\n    {row['value']}")
        print("\n" + "\n".join(f"{name}: {value}" for name, value in self.machine.items()))
