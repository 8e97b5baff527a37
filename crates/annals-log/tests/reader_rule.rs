//! The reader rule against a model that says what the rule means and keeps no state.
//!
//! The model looks, for each record, at all that came before it. It is slow and hard to get wrong.

use std::collections::BTreeSet;

use annals_core::envelope::Header;
use annals_core::reader::{Ignored, ReaderRule, Verdict};
use annals_core::{Epoch, Offset, Seq};
use annals_log::RecordKind;
use proptest::prelude::*;

/// What a reader must make of the last of `headers`.
fn model(headers: &[Header]) -> Verdict {
    let Some((last, before)) = headers.split_last() else { return Verdict::Accepted };
    let began = headers.first() == Some(&Header::Genesis);
    let (epoch, seq) = match last {
        Header::Foreign => return Verdict::Ignored(Ignored::Foreign),
        Header::Genesis if before.is_empty() => return Verdict::Accepted,
        _ if !began => return Verdict::Ignored(Ignored::NoGenesis),
        Header::Genesis => return Verdict::Ignored(Ignored::SecondGenesis),
        Header::Claim => return Verdict::Accepted,
        Header::Record { epoch, seq } | Header::Progress { epoch, seq } | Header::Release { epoch, seq } => {
            (*epoch, seq.0)
        }
    };
    let claim = before.iter().rposition(|header| *header == Header::Claim);
    if claim.map(|at| Epoch(at as u64)) != Some(epoch) {
        return Verdict::Ignored(Ignored::StaleEpoch);
    }
    let (seen, closed) = believed(before, epoch);
    match seq {
        _ if seq < seen => Verdict::Ignored(Ignored::Duplicate),
        _ if closed || seq > seen => Verdict::Ignored(Ignored::Hole),
        _ => Verdict::Accepted,
    }
}

/// How many different numbers `epoch` has since its claim without a gap, and whether one came too early or was
/// that of a release.
fn believed(headers: &[Header], epoch: Epoch) -> (u64, bool) {
    let mut numbers = BTreeSet::new();
    for header in headers.iter().skip(epoch.0.saturating_add(1) as usize) {
        match header {
            Header::Record { epoch: other, seq }
            | Header::Progress { epoch: other, seq }
            | Header::Release { epoch: other, seq }
                if *other == epoch =>
            {
                if seq.0 > numbers.len() as u64 {
                    return (numbers.len() as u64, true);
                }
                let new = numbers.insert(seq.0);
                if new && matches!(header, Header::Release { .. }) {
                    return (numbers.len() as u64, true);
                }
            }
            _ => {}
        }
    }
    (numbers.len() as u64, false)
}

/// One step of a random history; resolved against what lies before it, so that most records are nearly right.
#[derive(Clone, Debug)]
enum Step {
    Genesis,
    Claim,
    Foreign,
    /// A record of the claim `back` claims ago, whose number is off the next one by `off`.
    Near {
        back: usize,
        off: i64,
        kind: RecordKind,
    },
    /// A record of any numbers.
    Any {
        epoch: u64,
        seq: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let near = (prop_oneof![8 => Just(0), 2 => 1..3_usize], prop_oneof![8 => Just(0), 1 => -3..4_i64]);
    let kind = prop_oneof![
        8 => Just(RecordKind::Record),
        4 => Just(RecordKind::Progress),
        1 => Just(RecordKind::Release),
    ];
    prop_oneof![
        1 => Just(Step::Genesis),
        1 => Just(Step::Foreign),
        3 => Just(Step::Claim),
        16 => (near, kind).prop_map(|((back, off), kind)| Step::Near { back, off, kind }),
        1 => (0..20_u64, 0..6_u64).prop_map(|(epoch, seq)| Step::Any { epoch, seq }),
        1 => (any::<u64>(), 0..u64::MAX).prop_map(|(epoch, seq)| Step::Any { epoch, seq }),
    ]
}

fn resolve(step: &Step, before: &[Header]) -> Header {
    match *step {
        Step::Genesis => Header::Genesis,
        Step::Claim => Header::Claim,
        Step::Foreign => Header::Foreign,
        Step::Any { epoch, seq } => Header::Record { epoch: Epoch(epoch), seq: Seq(seq) },
        Step::Near { back, off, kind } => {
            let claims = before.iter().enumerate().rev().filter(|(_, header)| **header == Header::Claim);
            let epoch = claims.map(|(at, _)| Epoch(at as u64)).nth(back).unwrap_or(Epoch(0));
            let seq = Seq(believed(before, epoch).0.saturating_add_signed(off));
            kind.header(epoch, seq)
        }
    }
}

fn history(genesis: bool, steps: &[Step]) -> Vec<Header> {
    let mut headers = if genesis { vec![Header::Genesis] } else { Vec::new() };
    for step in steps {
        let header = resolve(step, &headers);
        headers.push(header);
    }
    headers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rule_is_the_model(
        genesis in prop::bool::weighted(0.95),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let headers = history(genesis, &steps);
        let mut rule = ReaderRule::default();
        for (at, header) in headers.iter().enumerate() {
            let verdict = rule.admit(Offset(at as u64), *header);
            prop_assert_eq!(verdict, model(headers.get(..=at).unwrap_or_default()), "at {} of {:?}", at, headers);
        }
    }

    #[test]
    fn a_resumed_rule_goes_on_as_the_first(
        steps in prop::collection::vec(step(), 1..60),
        cut in 0..60_usize,
    ) {
        let headers = history(true, &steps);
        let mut rule = ReaderRule::default();
        for (at, header) in headers.iter().enumerate() {
            if at == cut.max(1) {
                rule = ReaderRule::resumed(rule.epoch(), rule.next_seq(), rule.is_closed());
            }
            let verdict = rule.admit(Offset(at as u64), *header);
            prop_assert_eq!(verdict, model(headers.get(..=at).unwrap_or_default()), "at {} of {:?}", at, headers);
        }
    }
}

/// The histories above reach every verdict, and long accepted runs: without this the comparison could be empty.
#[test]
fn the_histories_reach_every_verdict() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    let mut accepted = 0;
    for case in 0..300 {
        let steps = prop::collection::vec(step(), 0..60).new_tree(&mut runner).map(|tree| tree.current());
        let headers = history(case % 20 != 0, &steps.unwrap_or_default());
        for at in 0..headers.len() {
            match model(headers.get(..=at).unwrap_or_default()) {
                Verdict::Ignored(reason) => drop(reached.insert(reason)),
                Verdict::Accepted => accepted += 1,
            }
        }
    }
    assert_eq!(reached.len(), 6, "{reached:?}");
    assert!(accepted > 1000, "{accepted} records accepted");
}
