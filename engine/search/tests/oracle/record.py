#!/usr/bin/env python3
"""Records what the package MLRsearch measures and finds on simulated devices.

    python3 -m venv /tmp/oracle && /tmp/oracle/bin/pip install MLRsearch==1.2.1
    /tmp/oracle/bin/python record.py > ../data/mlrsearch-1.2.1.txt

tests/oracle.rs simulates the same devices and has to ask for the same trials.
"""

from MLRsearch import AbstractMeasurer, Config, MeasurementResult, MultipleLossRatioSearch, SearchGoal

DEVICES = 200
KINDS = ("sharp", "noisy", "bursts", "buffer", "inversion", "lagging", "overhead", "soft")
RANGES = ((1e3, 1e6), (9001.0, 14880952.0), (1e5, 1e9))
# loss, exceed, width, initial trial, final trial, sum of durations, preceding targets, expansion
GOALS = (
    ((0.0, 0.5, 0.005, 1.0, 1.0, 21.0, 2, 2), (0.005, 0.5, 0.005, 1.0, 1.0, 21.0, 2, 2)),
    ((0.0, 0.5, 0.005, 1.0, 1.0, 21.0, 2, 2),),
    ((0.0, 0.0, 0.005, 1.0, 60.0, 60.0, 2, 2),),
    ((0.0, 0.0, 0.01, 1.0, 30.0, 30.0, 3, 2), (0.001, 0.25, 0.02, 0.5, 1.0, 10.0, 1, 3), (0.1, 0.5, 0.05, 1.0, 2.0, 12.0, 4, 4)),
    ((0.01, 0.1, 0.03, 5.0, 5.0, 5.0, 0, 2), (0.0, 0.9, 0.001, 0.1, 1.0, 20.0, 2, 2)),
)
MASK = (1 << 64) - 1


def splitmix(value):
    """splitmix64: one step from a state, its output."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


class Device(AbstractMeasurer):
    def __init__(self, kind, seed, capacity):
        self.kind, self.seed, self.capacity = kind, seed, capacity
        self.trials = []

    def measure(self, intended_duration, intended_load):
        chance = splitmix((self.seed << 32) + len(self.trials)) % 1000000
        self.trials.append((intended_load, intended_duration))
        intended = offered = int(intended_load * intended_duration + 0.5)
        most = self.capacity * intended_duration
        taken = intended_duration
        if self.kind == "noisy":
            most *= 1.0 - 0.05 * (chance / 1e6)
        elif self.kind == "buffer":
            most += self.capacity * 0.03
        elif self.kind == "inversion" and 2.0 < intended_load / self.capacity < 3.0:
            most = offered
        elif self.kind == "lagging":
            offered = min(intended, int(0.9 * most))
        elif self.kind == "overhead":
            taken += 0.25
        elif self.kind == "soft":
            most = min(most, offered * (1.0 - 0.02 * max(0.0, intended_load / self.capacity - 0.5)))
        forwarded = min(offered, int(most))
        if self.kind == "bursts" and chance < 150000:
            forwarded -= forwarded // 200
        return MeasurementResult(
            intended_duration=intended_duration,
            intended_load=intended_load,
            intended_count=intended,
            offered_count=offered,
            forwarding_count=forwarded,
            duration_with_overheads=taken,
        )


def runs(trials):
    """Equal trials in a row as one word, load:seconds*times."""
    words = []
    for load, seconds in trials:
        word = f"{load:.10g}:{seconds:.10g}"
        if words and words[-1][0] == word:
            words[-1][1] += 1
        else:
            words.append([word, 1])
    return " ".join(f"{word}*{times}" if times > 1 else word for word, times in words)


def number(value):
    return "-" if value is None else f"{float(value):.10g}"


def record(place):
    kind = KINDS[place % len(KINDS)]
    low, high = RANGES[splitmix(place) % len(RANGES)]
    goals = GOALS[splitmix(place + 1000) % len(GOALS)]
    # From below the least load to above the greatest, evenly by its logarithm.
    share = (splitmix(place + 2000) % 1000) / 1000 * 1.2 - 0.1
    capacity = int(low * (high / low) ** share)
    warmup = float(place % 5 == 0)
    device = Device(kind, place, capacity)
    wanted = [
        SearchGoal(loss, exceed, width, initial, final, total, preceding, expansion, False)
        for loss, exceed, width, initial, final, total, preceding, expansion in goals
    ]
    config = Config(wanted, low, high, 1e9, warmup)
    results = MultipleLossRatioSearch(config).search(device)
    print(f"device {place} {kind} {capacity} {low:.10g} {high:.10g} {warmup:.10g}")
    print(f"trials {runs(device.trials)}")
    for goal, asked in zip(wanted, goals):
        found = results[goal]
        bounds = (found.relevant_lower_bound, found.relevant_upper_bound, found.conditional_throughput)
        print("goal", *asked, *(number(value) for value in bounds))


print("# Recorded by tests/oracle/record.py with MLRsearch 1.2.1.")
print("# device: place, kind, capacity, least and greatest load, seconds of warm-up. trials: load:seconds*times.")
print("# goal: loss, exceed ratio, width, initial and final trial, sum, preceding, expansion; lower, upper, conditional.")
for place in range(DEVICES):
    record(place)
