use super::*;
use crate::stats::Bootstrap;
use crate::stats::directed::{Scale, Side};
use crate::stats::simulate::normal;

const CLAIMS: usize = 30;
const ALPHA: f64 = 0.05;

fn units(values: Vec<f64>, scale: Scale) -> Units {
    Units::new(&Side { values, step: 0.0 }, None, scale).unwrap()
}

/// Claims about a value whose truth is 1, the border: at least so much, less than so much, and about a
/// value whose margin ends there. What is wrong of each.
fn on_border(claim: usize) -> (Region, bool) {
    let region = |low, high, closed| Region { low, high, closed };
    match claim % 3 {
        0 => (region(Some(1.0), None, true), false),
        1 => (region(None, Some(1.0), false), true),
        _ => (region(Some(1.0), Some(1.1), true), false),
    }
}

/// What became of a run of claims.
struct Told {
    wrong: bool,
    decided: usize,
    measured: usize,
}

/// Looks at claims until nothing is open: `values` gives each claim's units, in order.
fn run(
    design: &Design,
    values: &[Vec<f64>],
    scale: Scale,
    of: &dyn Fn(usize) -> (Region, bool),
) -> Told {
    let claims: Vec<Vec<Assertion>> = values
        .iter()
        .enumerate()
        .map(|(i, values)| {
            let units = units(values.clone(), scale);
            let region = of(i).0;
            vec![Assertion { units, region }]
        })
        .collect();
    let mut sequence = Sequence::new(design.clone(), ALPHA, claims.len());
    let mut measured = 0;
    let mut before = 0;
    while let Some(next) = sequence.next() {
        let open = sequence
            .standings
            .iter()
            .filter(|s| **s == Standing::Open)
            .count();
        measured += open * (next - before) as usize;
        before = next;
        sequence.look(&claims).unwrap();
    }
    let decided = |standing: &Standing| match standing {
        Standing::Decided { reproduced, .. } => Some(*reproduced),
        _ => None,
    };
    let told: Vec<Option<bool>> = sequence.standings.iter().map(decided).collect();
    Told {
        wrong: told
            .iter()
            .enumerate()
            .any(|(i, told)| *told == Some(of(i).1)),
        decided: told.iter().flatten().count(),
        measured,
    }
}

/// The share of runs with a wrong verdict, and what three standard deviations of it tolerate.
fn rate(
    name: &str,
    rounds: u32,
    scale: Scale,
    values: &mut dyn FnMut() -> Vec<Vec<f64>>,
) -> (f64, f64) {
    let design = Design::default();
    let wrong = (0..rounds)
        .filter(|_| run(&design, &values(), scale, &on_border).wrong)
        .count();
    let n = f64::from(rounds);
    let (rate, tolerated) = (
        wrong as f64 / n,
        ALPHA + 3.0 * (ALPHA * (1.0 - ALPHA) / n).sqrt(),
    );
    println!(
        "| {name} | {rounds} | {:.1} % | {:.1} % |",
        100.0 * rate,
        100.0 * tolerated
    );
    (rate, tolerated)
}

fn matrix(mut of: impl FnMut(usize, usize) -> f64) -> Vec<Vec<f64>> {
    (0..CLAIMS)
        .map(|i| (0..20).map(|j| of(i, j)).collect())
        .collect()
}

/// All truths on the border, where a verdict is wrong as often as it can be. `cargo test -p vexp-report
/// looks_keep -- --nocapture` prints the table of docs/statistics.md.
#[test]
fn looks_keep_their_level_on_the_border() {
    const ROUNDS: u32 = 500;
    let mut random = Bootstrap::new(1, "looks");
    let sigma = (1.0_f64 + 0.36).ln().sqrt();
    let mut check = |name: &str, scale, values: &mut dyn FnMut(&mut Bootstrap) -> Vec<Vec<f64>>| {
        let (rate, tolerated) = rate(name, ROUNDS, scale, &mut || values(&mut random));
        assert!(rate <= tolerated, "{name}: {rate} > {tolerated}");
    };
    check(
        "independent claims, normal, 5 %",
        Scale::Linear,
        &mut |random| matrix(|_, _| 1.0 + 0.05 * normal(random)),
    );
    check(
        "dependent claims (ρ = 0.5), normal, 5 %",
        Scale::Log,
        &mut |random| {
            let shared: Vec<f64> = (0..20).map(|_| normal(random)).collect();
            matrix(|_, j| (0.05 * 0.5_f64.sqrt() * (shared[j] + normal(random))).exp())
        },
    );
    check(
        "lognormal, coefficient of variation 0.6",
        Scale::Log,
        &mut |random| matrix(|_, _| (sigma * normal(random)).exp()),
    );
    // A unit is the mean of three repetitions; boots differ by twice what these do.
    check("boots of three repetitions", Scale::Log, &mut |random| {
        matrix(|_, _| {
            let boot = 0.1 * normal(random);
            let repetitions: f64 = (0..3).map(|_| 0.05 * normal(random)).sum();
            (boot + repetitions / 3.0).exp()
        })
    });
    // The mean lies between the two states of one of the claims: a third of its boots are in the second.
    check(
        "one claim with a second state",
        Scale::Linear,
        &mut |random| {
            matrix(|i, _| {
                let noise = 0.02 * normal(random);
                let state = if random.uniform() < 1.0 / 3.0 {
                    -0.2
                } else {
                    0.1
                };
                1.0 + noise + if i == 0 { state } else { 0.0 }
            })
        },
    );
    let recorded = residuals();
    check("residuals of recorded series", Scale::Log, &mut |random| {
        matrix(|i, _| {
            let of = &recorded[i % recorded.len()];
            of[random.below(of.len())].exp()
        })
    });
}

/// Logarithms of recorded values less their mean: nightly results, and round-trip times in eights.
fn residuals() -> [Vec<f64>; 2] {
    let read = |text: &str| -> Vec<f64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let words = lines.flat_map(str::split_whitespace);
        words.map(|word| word.parse().unwrap()).collect()
    };
    let nightly = read(include_str!("../../tests/data/series/tigerbeetle.txt"));
    let nightly = nightly[nightly.len() - 153..].to_vec();
    let rtt = read(include_str!("../../tests/data/series/rtt.txt"));
    let rtt = rtt
        .chunks_exact(8)
        .map(|chunk| chunk.iter().sum::<f64>() / 8.0)
        .collect();
    [nightly, rtt].map(|values| {
        let logs: Vec<f64> = values.iter().map(|value: &f64| value.ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        logs.iter().map(|log| log - mean).collect()
    })
}

/// Claims whose truths lie at many distances from their borders, in standard deviations of a unit: looks
/// decide about as many as twenty units of each would, with fewer units.
#[test]
fn looks_decide_what_can_be_decided() {
    let effects = [0.3, 1.0, 1.5, 2.0, 3.0, 6.0];
    let mut random = Bootstrap::new(2, "power of looks");
    let of = |_: usize| {
        let region = Region {
            low: Some(1.0),
            high: None,
            closed: true,
        };
        (region, false)
    };
    let fixed = |units| Design::try_from(vec![Look { units, share: 1.0 }]).unwrap();
    let designs = [
        ("6, 12 and 20", Design::default()),
        ("6", fixed(6)),
        ("12", fixed(12)),
        ("20", fixed(20)),
    ];
    let rounds = 60;
    let mut told = [(0, 0); 4];
    for _ in 0..rounds {
        let values =
            matrix(|i, _| (0.05 * (effects[i % effects.len()] + normal(&mut random))).exp());
        for ((_, design), told) in designs.iter().zip(&mut told) {
            let found = run(design, &values, Scale::Log, &of);
            assert!(!found.wrong);
            told.0 += found.decided;
            told.1 += found.measured;
        }
    }
    let per_run = |n: usize| n as f64 / f64::from(rounds);
    for ((name, _), (decided, measured)) in designs.iter().zip(told) {
        println!(
            "| {name} | {:.1} | {:.0} |",
            per_run(decided),
            per_run(measured)
        );
    }
    assert!(told[0].0 as f64 > 0.95 * told[3].0 as f64, "{told:?}");
    assert!((told[0].1 as f64) < 0.75 * told[3].1 as f64, "{told:?}");
    assert!(told[0].0 > told[1].0, "{told:?}");
}

#[test]
fn looks_are_declared_and_kept() {
    let design = |looks: &[(u32, f64)]| {
        let looks = looks.iter().map(|(units, share)| Look {
            units: *units,
            share: *share,
        });
        Design::try_from(looks.collect::<Vec<_>>())
    };
    assert_eq!(design(&[]), Err(BadDesign::Empty));
    assert_eq!(design(&[(2, 1.0)]), Err(BadDesign::Units));
    assert_eq!(design(&[(6, 0.5), (6, 0.5)]), Err(BadDesign::Units));
    assert_eq!(design(&[(6, 0.5), (12, 0.4)]), Err(BadDesign::Shares));
    assert_eq!(design(&[(6, 1.5), (12, -0.5)]), Err(BadDesign::Shares));
    assert_eq!(design(&[(6, f64::NAN)]), Err(BadDesign::Shares));

    // A sequence that was written down goes on where it was.
    let far = |n: usize| {
        let units = units(
            (0..n).map(|i| 2.0 + 0.01 * (i % 3) as f64).collect(),
            Scale::Log,
        );
        vec![Assertion {
            units,
            region: on_border(0).0,
        }]
    };
    let mut sequence = Sequence::new(Design::default(), ALPHA, 2);
    assert_eq!(sequence.next(), Some(6));
    let few = [far(6), far(5)];
    let wrong = LookError::Units {
        claim: 1,
        found: 5,
        needed: 6,
    };
    assert_eq!(sequence.look(&few), Err(wrong));
    assert_eq!(sequence.taken, 0, "a look that could not be taken is none");
    sequence.look(&[far(6), far(6)]).unwrap();
    let text = serde_json::to_string(&sequence).unwrap();
    let mut resumed: Sequence = serde_json::from_str(&text).unwrap();
    assert_eq!(resumed, sequence);
    assert_eq!(resumed.next(), Some(12));
    resumed.look(&[far(12), far(12)]).unwrap();
    let decided = Standing::Decided {
        look: 2,
        reproduced: true,
    };
    assert_eq!(resumed.standings, [decided, decided]);
    assert_eq!(resumed.next(), None);
    // What is decided stays so, whatever comes.
    resumed.look(&[far(20), far(20)]).unwrap();
    assert_eq!(resumed.standings, [decided, decided]);
    assert_eq!(resumed.look(&[far(20), far(20)]), Err(LookError::Over(3)));
    let tampered = text.replace("0.3", "0.9");
    assert!(serde_json::from_str::<Sequence>(&tampered).is_err());
}

#[test]
fn a_claim_on_its_border_is_given_up() {
    let values: Vec<f64> = (0..20)
        .map(|i| if i % 2 == 0 { 0.9 } else { 1.112 })
        .collect();
    let near = vec![Assertion {
        units: units(values, Scale::Log),
        region: on_border(0).0,
    }];
    let mut sequence = Sequence::new(Design::default(), ALPHA, 1);
    sequence.look(&[near]).unwrap();
    assert_eq!(sequence.standings, [Standing::GivenUp { look: 1 }]);
    assert_eq!(sequence.next(), None);
}
