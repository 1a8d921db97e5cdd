use std::collections::BTreeMap;
use std::fmt;

use tokio::time::Instant;

use super::hold::{History, HoldRecord};

/// A broken promise, with the holds that show it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Violation {
    /// Two holds of one key were valid at one moment.
    #[non_exhaustive]
    TwoHolders {
        /// The one that began first.
        first: HoldRecord,
        /// The one that began while it was valid.
        second: HoldRecord,
    },
    /// A hold that began after another was granted has a smaller token.
    #[non_exhaustive]
    TokenOrder {
        /// The one that was granted first.
        earlier: HoldRecord,
        /// The one that was asked for after that, or valid after that.
        later: HoldRecord,
    },
    /// Two holds of one key have the same token.
    #[non_exhaustive]
    SameToken {
        /// One of them.
        one: HoldRecord,
        /// The other.
        other: HoldRecord,
    },
    /// The fenced resource refused a holder while its hold was valid: it had seen a greater token.
    #[non_exhaustive]
    FencedOff {
        /// The hold.
        hold: HoldRecord,
    },
}

/// A line for each hold, with the time since the first of them was asked for.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, first, second) = match self {
            Self::TwoHolders { first, second } => ("two holders", first, Some(second)),
            Self::TokenOrder { earlier, later } => {
                ("a token that doesn't grow", earlier, Some(later))
            }
            Self::SameToken { one, other } => ("one token twice", one, Some(other)),
            Self::FencedOff { hold } => ("refused by the resource while valid", hold, None),
        };
        let start = second.map_or(first.asked, |second| first.asked.min(second.asked));
        write!(f, "`{}`: {what}", first.key)?;
        for hold in [Some(first), second].into_iter().flatten() {
            let since = |at: Instant| at.saturating_duration_since(start);
            let HoldRecord { holder, token, .. } = hold;
            write!(f, "\n  client {holder}, token {token}: granted at {:?}", since(hold.granted))?;
            if let Some((from, until)) = hold.valid {
                write!(f, ", valid from {:?} to {:?}", since(from), since(until))?;
            }
        }
        Ok(())
    }
}

/// Every violation in a history; none, if the contract was kept.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut keys: BTreeMap<&str, Vec<&HoldRecord>> = BTreeMap::new();
    for record in &history.records {
        keys.entry(&record.key).or_default().push(record);
    }
    let mut found = Vec::new();
    for holds in keys.into_values() {
        two_holders(&holds, &mut found);
        tokens(holds, &mut found);
    }
    let fenced_off = history.records.iter().filter(|record| record.was_fenced_off);
    found.extend(fenced_off.map(|record| Violation::FencedOff { hold: record.clone() }));
    found
}

fn two_holders(holds: &[&HoldRecord], found: &mut Vec<Violation>) {
    let mut valid: Vec<(Instant, Instant, &HoldRecord)> = holds
        .iter()
        .filter_map(|hold| hold.valid.map(|(from, until)| (from, until, *hold)))
        .collect();
    valid.sort_by_key(|(from, ..)| *from);
    let mut longest: Option<(Instant, &HoldRecord)> = None;
    for (from, until, hold) in valid {
        if let Some((_, first)) = longest.filter(|(end, _)| from < *end) {
            found.push(Violation::TwoHolders { first: first.clone(), second: hold.clone() });
        }
        if longest.is_none_or(|(end, _)| end < until) {
            longest = Some((until, hold));
        }
    }
}

fn tokens(mut holds: Vec<&HoldRecord>, found: &mut Vec<Violation>) {
    holds.sort_by_key(|hold| hold.token);
    for pair in holds.windows(2).filter(|pair| pair[0].token == pair[1].token) {
        let (one, other) = (pair[0].clone(), pair[1].clone());
        found.push(Violation::SameToken { one, other });
    }
    // Of those granted before a moment, the one with the greatest token.
    holds.sort_by_key(|hold| hold.granted);
    let mut greatest: Vec<&HoldRecord> = Vec::with_capacity(holds.len());
    for hold in &holds {
        let before = greatest.last().copied().filter(|before| before.token > hold.token);
        greatest.push(before.unwrap_or(hold));
    }
    for later in &holds {
        let granted_before = holds.partition_point(|hold| hold.granted < begins_after(later));
        let earlier = granted_before.checked_sub(1).map(|last| greatest[last]);
        if let Some(earlier) = earlier.filter(|earlier| earlier.token > later.token) {
            let (earlier, later) = (earlier.clone(), (*later).clone());
            found.push(Violation::TokenOrder { earlier, later });
        }
    }
}

/// What was granted before this moment was granted before this hold. When it was granted itself is between
/// the question and the answer; but whoever is valid at a moment was granted the key after all who were
/// granted it by then, or they would have been granted what somebody held.
fn begins_after(hold: &HoldRecord) -> Instant {
    hold.valid.map_or(hold.asked, |(from, _)| from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use locking_core::FencingToken;

    use super::*;

    /// A hold of key `k` that was asked for, granted, and valid from and until these milliseconds.
    fn hold(token: u64, asked: u64, granted: u64, until: u64) -> HoldRecord {
        doubtful(token, asked, granted).with_valid(at(granted), at(until))
    }

    /// One that was perhaps never valid after its answer.
    fn doubtful(token: u64, asked: u64, granted: u64) -> HoldRecord {
        let token = FencingToken::new(token);
        HoldRecord::new(1, "k".to_owned(), token, at(asked), at(granted))
    }

    fn at(millis: u64) -> Instant {
        *ZERO.get_or_init(Instant::now) + Duration::from_millis(millis)
    }

    static ZERO: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

    fn violations(records: Vec<HoldRecord>) -> Vec<Violation> {
        check(&History { operations: records.len(), records })
    }

    #[test]
    fn holds_one_after_another_are_fine() {
        assert!(
            violations(vec![hold(1, 0, 10, 20), hold(2, 5, 20, 30), hold(3, 25, 31, 40)])
                .is_empty()
        );
    }

    #[test]
    fn two_holds_at_one_moment_are_found_behind_shorter_ones_too() {
        let records = vec![hold(1, 0, 10, 100), hold(2, 5, 20, 30), hold(3, 5, 50, 60)];
        let found = violations(records);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|violation| matches!(violation, Violation::TwoHolders { first, .. } if first.token.get() == 1)));
    }

    #[test]
    fn a_token_that_does_not_grow_is_found() {
        let found = violations(vec![hold(5, 0, 10, 20), hold(7, 12, 21, 25), hold(6, 22, 30, 40)]);
        assert!(
            matches!(&found[..], [Violation::TokenOrder { earlier, later }] if earlier.token.get() == 7 && later.token.get() == 6),
            "{found:?}"
        );
    }

    #[test]
    fn a_token_that_does_not_grow_is_found_in_a_queue_too() {
        for earlier in [hold(2, 0, 10, 11), doubtful(2, 0, 10)] {
            let found = violations(vec![earlier, hold(1, 0, 12, 13)]);
            assert!(
                matches!(&found[..], [Violation::TokenOrder { later, .. }] if later.token.get() == 1),
                "{found:?}"
            );
        }
    }

    #[test]
    fn tokens_of_requests_that_overlap_may_come_in_any_order_where_validity_is_in_doubt() {
        assert!(violations(vec![hold(2, 0, 10, 11), doubtful(1, 0, 12)]).is_empty());
        assert!(violations(vec![doubtful(2, 0, 10), doubtful(1, 0, 12)]).is_empty());
    }

    #[test]
    fn a_token_that_is_used_twice_is_found() {
        let found = violations(vec![hold(1, 0, 10, 11), hold(1, 0, 12, 13)]);
        assert!(matches!(&found[..], [Violation::SameToken { .. }]), "{found:?}");
    }

    #[test]
    fn a_valid_holder_that_was_refused_by_the_resource_is_found() {
        let mut refused = hold(1, 0, 10, 20);
        refused.was_fenced_off = true;
        assert!(matches!(&violations(vec![refused])[..], [Violation::FencedOff { .. }]));
    }

    #[test]
    fn holds_of_different_keys_are_judged_apart() {
        let mut other = hold(1, 0, 10, 20);
        other.key = "other".to_owned();
        assert!(violations(vec![hold(1, 0, 10, 20), other]).is_empty());
    }
}
