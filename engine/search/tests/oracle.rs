//! The package MLRsearch 1.2.1, on 200 simulated devices: the same trials in the same order, the same bounds.
//!
//! Recorded loads have ten digits, so loads are compared to 1 in 10⁹.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use vexp_search::{Goal, GoalResult, Observation, Search, Step, Trial};

const RECORDED: &str = include_str!("data/mlrsearch-1.2.1.txt");

fn splitmix(value: u64) -> u64 {
    let mut value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

struct Device<'a> {
    kind: &'a str,
    seed: u64,
    capacity: f64,
    trials: u64,
}

impl Device<'_> {
    /// As `Device.measure` in oracle/record.py.
    fn measure(&mut self, trial: &Trial) -> Observation {
        let chance = splitmix((self.seed << 32) + self.trials) % 1_000_000;
        self.trials += 1;
        let intended = (trial.load * trial.seconds + 0.5) as u64;
        let mut offered = intended;
        let mut most = self.capacity * trial.seconds;
        let mut taken = trial.seconds;
        let ratio = trial.load / self.capacity;
        match self.kind {
            "noisy" => most *= 1.0 - 0.05 * (chance as f64 / 1e6),
            "buffer" => most += self.capacity * 0.03,
            "inversion" if 2.0 < ratio && ratio < 3.0 => most = offered as f64,
            "lagging" => offered = intended.min((0.9 * most) as u64),
            "overhead" => taken += 0.25,
            "soft" => most = most.min(offered as f64 * (1.0 - 0.02 * (ratio - 0.5).max(0.0))),
            _ => {}
        }
        let mut forwarded = offered.min(most as u64);
        if self.kind == "bursts" && chance < 150_000 {
            forwarded -= forwarded / 200;
        }
        Observation {
            offered,
            forwarded,
            intended: Some(intended),
            seconds: Some(taken),
        }
    }
}

fn close(found: f64, recorded: f64) -> bool {
    (found - recorded).abs() <= recorded.abs() * 1e-9
}

fn number(word: &str) -> Option<f64> {
    (word != "-").then(|| word.parse().unwrap())
}

fn same(found: Option<f64>, recorded: Option<f64>) -> bool {
    match (found, recorded) {
        (Some(found), Some(recorded)) => close(found, recorded),
        (None, None) => true,
        _ => false,
    }
}

struct Recorded<'a> {
    device: Vec<&'a str>,
    trials: Vec<(f64, f64)>,
    goals: Vec<Vec<&'a str>>,
}

fn recorded() -> Vec<Recorded<'static>> {
    let mut all: Vec<Recorded<'_>> = Vec::new();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "device" => all.push(Recorded {
                device: words[1..].to_vec(),
                trials: Vec::new(),
                goals: Vec::new(),
            }),
            "trials" => {
                let runs = words[1..].iter().map(|word| run(word));
                all.last_mut().unwrap().trials = runs.flatten().collect();
            }
            "goal" => all.last_mut().unwrap().goals.push(words[1..].to_vec()),
            other => panic!("{other}"),
        }
    }
    all
}

/// `load:seconds*times`
fn run(word: &str) -> Vec<(f64, f64)> {
    let (trial, times) = word.split_once('*').unwrap_or((word, "1"));
    let (load, seconds) = trial.split_once(':').unwrap();
    let trial = (load.parse().unwrap(), seconds.parse().unwrap());
    vec![trial; times.parse().unwrap()]
}

fn goal(words: &[&str]) -> Goal {
    let value = |at: usize| words[at].parse().unwrap();
    Goal {
        loss_ratio: value(0),
        exceed_ratio: value(1),
        width: value(2),
        initial_trial: value(3),
        final_trial: value(4),
        duration_sum: value(5),
        preceding: words[6].parse().unwrap(),
        expansion: words[7].parse().unwrap(),
    }
}

fn replay(case: &Recorded<'_>) -> Vec<GoalResult> {
    let place = case.device[0];
    let value = |at: usize| -> f64 { case.device[at].parse().unwrap() };
    let mut device = Device {
        kind: case.device[1],
        seed: place.parse().unwrap(),
        capacity: value(2),
        trials: 0,
    };
    let goals = case.goals.iter().map(|words| goal(words)).collect();
    let warmup = Some(value(5)).filter(|seconds| *seconds > 0.0);
    let mut search = Search::new(value(3), value(4), goals, warmup).unwrap();
    let mut expected = case.trials.iter();
    loop {
        match search.step() {
            Step::Done(results) => {
                assert_eq!(expected.next(), None, "device {place}: ended too early");
                return results;
            }
            Step::Trial(trial) => {
                let at = device.trials;
                let (load, seconds) = expected
                    .next()
                    .unwrap_or_else(|| panic!("device {place}: trial {at} is one too many"));
                assert!(
                    close(trial.load, *load) && close(trial.seconds, *seconds),
                    "device {place}, trial {at}: {trial:?}, recorded {load}:{seconds}"
                );
                search.record(device.measure(&trial)).unwrap();
            }
        }
    }
}

#[test]
fn the_same_trials_and_bounds_as_the_package_on_200_devices() {
    let cases = recorded();
    assert_eq!(cases.len(), 200);
    for case in &cases {
        let results = replay(case);
        assert_eq!(results.len(), case.goals.len());
        for (result, words) in results.iter().zip(&case.goals) {
            let [lower, upper, conditional] = [8, 9, 10].map(|at: usize| number(words[at]));
            assert!(
                same(result.lower, lower)
                    && same(result.upper, upper)
                    && same(result.conditional_throughput, conditional),
                "device {}: {result:?}, recorded {words:?}",
                case.device[0]
            );
        }
    }
}

/// The recording is no better than what it covers.
#[test]
fn the_devices_cover_each_kind_of_end() {
    let cases = recorded();
    let goals = || cases.iter().flat_map(|case| &case.goals);
    assert!(
        goals().any(|words| words[8] == "-"),
        "no goal without a lower bound"
    );
    assert!(
        goals().any(|words| words[9] == "-"),
        "no goal without an upper bound"
    );
    assert!(
        goals().any(|words| words[8] != "-" && words[10] != words[8]),
        "no conditional throughput"
    );
    assert!(cases.iter().any(|case| case.goals.len() == 3));
    let trials: usize = cases.iter().map(|case| case.trials.len()).sum();
    assert!(trials > 5_000, "{trials}");
}
