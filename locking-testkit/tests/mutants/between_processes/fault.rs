/// One fault of an otherwise right provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    BelievesItsClientsClocks,
    CountsTokensPerProcess,
    EndsWhatTheDeadHeld,
    ForgetsExpiry,
    FreesWhatTheDeadHeld,
    KnowsItsOwnProcessAlone,
    ReleasesWithoutTheToken,
    ServesOneProcessFirst,
    WaitsForTheDead,
}

/// Each fault with its cases: all of them must fail.
pub(crate) const MUTANTS: &[(Fault, &[&str])] = &[
    (
        Fault::BelievesItsClientsClocks,
        &[
            "wrong_clocks::a_held_key_is_refused",
            "wrong_clocks::a_lease_ends_neither_early_nor_late",
            "wrong_clocks::a_guard_is_kept_and_its_loss_is_found_out",
            "wrong_clocks::a_key_is_handed_over_in_time",
            "wrong_clocks::processes_hours_apart_exclude_each_other",
        ],
    ),
    (Fault::CountsTokensPerProcess, &["fencing::tokens_grow_for_processes_that_start_later"]),
    (Fault::EndsWhatTheDeadHeld, &["processes::a_killed_processs_leases_last"]),
    (Fault::ForgetsExpiry, &["processes::a_killed_processs_guard_is_free_at_its_leases_end"]),
    (Fault::FreesWhatTheDeadHeld, &["processes::a_killed_processs_lease_stays"]),
    (Fault::KnowsItsOwnProcessAlone, &["processes::processes_exclude_each_other"]),
    (
        Fault::ReleasesWithoutTheToken,
        &["processes::a_stopped_processs_guard_is_free_and_it_finds_that_out"],
    ),
    (Fault::ServesOneProcessFirst, &["processes::processes_share_a_key_fairly"]),
    (
        Fault::WaitsForTheDead,
        &[
            "processes::a_killed_waiter_costs_the_queue_less_than_a_second",
            "processes::a_stopped_waiter_costs_the_queue_less_than_a_second",
        ],
    ),
];

impl Fault {
    pub(super) fn named(name: &str) -> Self {
        let mut faults = MUTANTS.iter().map(|(fault, _)| *fault);
        faults.find(|fault| format!("{fault:?}") == name).unwrap_or(Self::None)
    }
}
