use super::assertion::region;
use super::*;
use crate::stats::contrast::{Contrast, Decision};

/// Outcome of `left relation 100 ± 10 %` of three values, at 5 %.
fn told(left: [f64; 3], relation: Relation, margin: f64) -> char {
    let contrast = Contrast::of_units(&left, None).unwrap();
    let Decision { inside, p } = contrast.decide(region(relation, 100.0, margin));
    match (p <= 0.05, inside) {
        (true, true) => 'h',
        (true, false) => 'f',
        (false, _) => 'o',
    }
}

#[test]
fn truth_table_against_a_number() {
    use Relation as R;
    for (relation, below, across, equal, above) in [
        (R::About, 'f', 'o', 'h', 'f'),
        (R::AtLeast, 'f', 'o', 'h', 'h'),
        (R::AtMost, 'h', 'o', 'h', 'f'),
        (R::GreaterThan, 'f', 'o', 'f', 'h'),
        (R::LessThan, 'h', 'o', 'f', 'f'),
    ] {
        for (left, wanted) in [
            ([64.0, 65.0, 66.0], below),
            ([70.0, 100.0, 130.0], across),
            ([100.0, 100.0, 100.0], equal),
            ([124.0, 125.0, 126.0], above),
        ] {
            assert_eq!(told(left, relation, 0.1), wanted, "{left:?} {relation:?}");
        }
    }
}

#[test]
fn borders_belong_to_the_weak_relations_only() {
    use Relation as R;
    for (relation, at_equality) in [
        (R::About, 'h'),
        (R::AtLeast, 'h'),
        (R::AtMost, 'h'),
        (R::GreaterThan, 'f'),
        (R::LessThan, 'f'),
    ] {
        assert_eq!(told([100.0; 3], relation, 0.0), at_equality, "{relation:?}");
    }
}
