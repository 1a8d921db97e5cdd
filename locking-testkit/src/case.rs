use std::fmt;
use std::pin::Pin;

use locking_core::{Capabilities, Capability};

use crate::cases::*;
use crate::facility::Facility;
use crate::fixture::Fixture;

/// One claim of the contract, as a test that knows no provider.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// A sentence about behaviour, after the topic that it belongs to.
    pub name: &'static str,
    /// The lines of the contract that it tests.
    pub lines: &'static [u8],
    /// The capabilities that it needs.
    pub needs: &'static [Capability],
    /// What it needs of its surroundings.
    pub uses: &'static [Facility],
    run: fn(Fixture) -> CaseFuture,
}

type CaseFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Case {
    /// Runs the case; it panics where the contract is broken.
    pub(crate) fn run(&self, fixture: Fixture) -> CaseFuture {
        (self.run)(fixture)
    }

    /// The first capability that the case needs and that isn't claimed.
    #[must_use]
    pub fn lacks(&self, claims: Capabilities) -> Option<Capability> {
        self.needs.iter().copied().find(|need| !claims.has(*need))
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("lines", &self.lines)
            .field("needs", &self.needs)
            .field("uses", &self.uses)
            .finish_non_exhaustive()
    }
}

/// `topic::sentence [lines] Needed, Capabilities + Facility + Facility;` becomes a [`Case`].
macro_rules! cases {
    ($($topic:ident :: $sentence:ident [$($line:literal),+] $($need:ident),* $(+ $facility:ident)*;)+) => {
        &[$(Case {
            name: concat!(stringify!($topic), "::", stringify!($sentence)),
            lines: &[$($line),+],
            needs: &[$(Capability::$need),*],
            uses: &[$(Facility::$facility),*],
            run: |fixture| Box::pin($topic::$sentence(fixture)),
        }),+]
    };
}

/// Every case, in the order of the contract: the one list that every provider is measured by.
#[rustfmt::skip]
pub const CASES: &[Case] = cases! {
    exclusion::a_free_key_is_granted [2];
    exclusion::another_owner_is_refused_at_once_and_told_the_key [4, 21];
    exclusion::owners_in_one_client_exclude_each_other [4, 10];
    exclusion::an_anonymous_lease_is_never_reentered [5];
    exclusion::of_many_anonymous_acquires_at_once_one_succeeds [2, 5];
    exclusion::of_many_owners_at_once_one_succeeds [2, 4];
    exclusion::a_lease_keeps_guards_out [10];
    exclusion::a_guard_keeps_leases_and_guards_out [10];
    exclusion::a_guard_is_not_reentered_by_its_owners_name [7, 10];
    exclusion::a_running_job_keeps_everybody_out [10];
    exclusion::ten_buyers_buy_the_last_five_items_once_each [7, 10];
    exclusion::holders_of_different_keys_are_not_in_each_others_way [2];

    several::a_refused_call_takes_none_of_its_keys [1];
    several::a_call_that_times_out_takes_none_of_its_keys [1];
    several::the_first_blocking_key_in_byte_order_is_named [4];
    several::the_blocking_key_is_named_by_its_bytes_not_by_its_letters [4];
    several::a_key_named_twice_counts_once [1];
    several::reentered_keys_stay_as_they_were_when_the_call_is_refused [1];
    several::reentered_keys_stay_as_they_were_when_the_call_times_out [1];
    several::an_own_key_that_ended_meanwhile_is_taken_anew [2, 3];
    several::an_own_key_that_another_took_meanwhile_is_waited_for [1, 2] AtomicMultiKey;
    several::an_own_key_is_reentered_and_extended_after_a_wait [3];
    several::sets_that_overlap_in_any_order_never_deadlock [1];
    several::a_call_that_is_refused_is_invisible_to_others [1] AtomicMultiKey;
    several::a_call_that_waits_keeps_no_free_key_from_others [1, 2] AtomicMultiKey;
    several::several_busy_keys_share_one_deadline [4];
    several::a_call_for_several_keys_gets_its_turn_among_calls_for_one [18] Fair;
    several::a_call_for_several_keys_gets_its_turn_among_long_holds [18] Fair;
    several::a_call_for_several_keys_gets_its_turn_beside_two_busy_clients [18] Fair;
    several::a_call_for_one_key_gets_its_turn_among_calls_for_several [18] Fair;
    several::calls_for_several_keys_are_served_in_their_order [18] Fair;

    reentry::the_same_owner_reenters_with_the_same_token [3];
    reentry::a_longer_expiry_extends_the_hold [3];
    reentry::a_shorter_expiry_changes_nothing [3];
    reentry::an_absent_expiry_changes_nothing [3];
    reentry::there_is_no_hold_count [3];
    reentry::an_owners_queued_requests_are_granted_together [3];
    reentry::an_owners_queued_requests_are_granted_past_others [3];
    reentry::an_owner_does_not_queue_behind_those_who_wait [3];
    reentry::a_lease_says_what_it_took_and_what_it_reentered [1, 3];
    reentry::an_expired_hold_is_taken_anew_not_reentered [2, 15];
    reentry::a_waiter_does_not_reenter_its_own_grant [2, 3];

    release::a_released_key_is_free [11];
    release::the_answer_is_true_only_if_every_key_was_held [11];
    release::another_owners_key_is_not_freed [11];
    release::without_an_owner_no_owned_key_is_freed [11];
    release::without_an_owner_anybodys_anonymous_lease_is_freed [11];
    release::an_owner_does_not_free_an_anonymous_lease [11];
    release::a_guard_is_freed_by_nobody_elses_release [11];
    release::an_expired_lease_is_not_released_any_more [11, 12];
    release::an_expired_lease_that_nobody_asked_for_is_not_given_back [11, 12];
    release::a_late_release_does_not_free_the_next_holder [11, 12];
    release::a_late_lease_does_not_free_a_later_hold_of_its_own_owner [12];
    release::a_late_anonymous_lease_does_not_free_the_next_one [12];
    release::a_lease_gives_back_only_what_it_took [12];
    release::a_lease_that_lost_one_key_gives_back_the_others [11, 12];
    release::a_lease_is_released_once [12];
    release::a_lease_that_travelled_as_text_is_released_elsewhere [12];

    extend::a_lease_is_extended_from_now [12];
    extend::a_lease_is_shortened_too [12];
    extend::a_lease_without_an_expiry_gets_one [12];
    extend::a_lease_that_ended_is_lost [12, 21];
    extend::an_expired_lease_that_nobody_asked_for_is_not_revived [12, 15];
    extend::a_reentered_key_is_extended [12];
    extend::taken_and_reentered_keys_are_extended_together [12];
    extend::a_reentered_key_that_was_released_is_lost [12, 21];
    extend::a_lease_does_not_extend_the_next_holders [12];
    extend::of_several_keys_all_are_extended_or_none [12];
    extend::a_waiter_gets_a_shortened_key_at_its_new_expiry [15];
    extend::a_waiter_does_not_get_an_extended_key_at_its_old_expiry [2, 12];

    release_all::an_owners_leases_are_freed_and_counted [12];
    release_all::an_owners_leases_that_were_waited_for_are_freed_too [12];
    release_all::without_an_owner_every_lease_is_freed_and_no_guard [12];
    release_all::hundreds_of_leases_are_freed_and_counted [12];
    release_all::with_an_owner_nothing_that_runs_for_others_is_freed [12];
    release_all::leases_are_freed_together_with_what_runs [12];
    release_all::a_guard_is_freed_by_its_owners_name_when_asked_for_what_runs [12];
    release_all::what_runs_is_freed_when_asked_for_and_learns_it [12, 22];
    release_all::a_job_that_is_freed_by_force_is_cancelled [9, 22];
    release_all::its_waiters_get_the_freed_keys [17];
    release_all::an_expired_lease_is_not_counted [12];
    release_all::an_expired_lease_is_not_freed_with_its_successor [12, 15];
    release_all::a_lease_that_was_extended_is_freed_after_its_first_expiry [12];
    release_all::a_key_that_changes_hands_meanwhile_stays_held [12];
    release_all::waiters_of_freed_keys_are_not_freed_with_them [12];

    inspection::a_hold_is_told_with_owner_token_kind_and_time [12] Lists;
    inspection::the_time_of_the_longest_leases_is_told [12] Lists;
    inspection::an_anonymous_hold_has_no_owner_and_no_end [12] Lists;
    inspection::a_key_that_nobody_holds_is_not_told [15] Lists;
    inspection::an_expired_hold_that_nobody_asked_for_is_not_listed [12, 15] Lists;
    inspection::a_guard_that_waited_is_told_as_a_guard [12] Lists;
    inspection::the_list_has_every_hold_in_byte_order [12] Lists;
    inspection::a_long_list_is_complete_and_in_byte_order [12] Lists;
    inspection::those_who_wait_are_counted [25] Lists + WaiterCounts;

    guard::a_guard_outlives_its_lease_while_it_is_in_use [7];
    guard::a_dropped_guard_gives_its_keys_back [8];
    guard::a_guard_is_dropped_outside_any_runtime [8];
    guard::a_guard_whose_runtime_is_gone_is_free_by_its_lease [8, 24];
    guard::one_failed_renewal_is_not_a_loss [23];
    guard::nothing_is_renewed_after_the_end [23];
    guard::a_guard_learns_of_its_loss_before_the_key_is_anothers [14, 22];
    guard::a_paused_process_finds_its_guard_lost_without_asking [14, 22];
    guard::a_guard_that_ended_twice_frees_nobody_else [12];
    guard::a_guard_that_another_client_ends_late_ends_nobody_else [12, 31];
    guard::a_guard_that_waited_is_freed_by_nobody_elses_release [11, 12];
    guard::a_guard_of_several_keys_has_a_token_for_each [7];
    guard::many_guards_dropped_together_are_all_given_back [8];

    execute::a_jobs_output_is_the_answer [8, 9];
    execute::a_job_holds_its_keys_while_it_runs [7];
    execute::a_panicking_job_gives_its_keys_back [8];
    execute::a_cancelled_job_gives_its_keys_back [8, 25];
    execute::a_timed_out_acquisition_never_starts_the_job [7];
    execute::execute_inside_execute_on_one_key_times_out [7];
    execute::a_job_that_waited_is_freed_by_nobody_elses_release [11, 12];
    execute::a_long_job_keeps_its_lock [7];
    execute::a_lost_job_is_cancelled_and_the_loss_is_the_answer [9];
    execute::a_job_that_ends_as_its_lock_is_lost_is_lost [9];
    execute::a_job_that_is_not_cancelled_learns_of_the_loss [9];
    execute::a_job_knows_the_tokens_of_its_keys [2, 9];

    expiry::an_expired_key_is_free_at_once [15];
    expiry::a_waiter_gets_an_expired_key [15];
    expiry::a_waiter_for_several_keys_gets_them_when_the_last_expires [1, 15, 17];
    expiry::waiters_get_a_key_that_expires_time_and_again [15, 17];
    expiry::a_waiter_behind_a_longer_lease_gets_a_shorter_ones_key [15] Fair;
    expiry::a_fraction_of_a_second_counts [16];
    expiry::each_acquisition_has_its_own_expiry [2];
    expiry::the_longest_times_are_accepted [4, 6];
    expiry::leases_last_when_their_client_is_closed_or_gone [24];
    expiry::an_expired_hold_is_nobodys [15];

    races::a_release_as_the_lease_ends_does_not_free_the_next_holder [11, 15];
    races::a_lease_given_back_as_it_ends_does_not_free_the_next_holder [12, 15];
    races::a_lease_extended_as_it_ends_is_lost_or_keeps_its_keys [12, 15];
    races::a_lease_reentered_as_it_ends_is_lost_or_keeps_its_keys [3, 15];
    races::what_comes_slowly_as_the_lease_ends_is_in_time_or_late [3, 11, 12, 15] + OwnServer;

    waiting::a_waiter_gets_a_released_key [4, 17];
    waiting::a_waiter_for_several_keys_gets_them_when_the_last_is_released [1, 17];
    waiting::a_wait_ends_at_its_deadline [4];
    waiting::no_wait_and_a_wait_of_zero_try_once [4];
    waiting::an_unlimited_wait_lasts_until_the_key_is_free [4];
    waiting::a_waiter_gets_its_key_within_a_second_however_long_it_has_waited [15, 17];
    waiting::no_wake_up_is_lost_in_any_window [17];
    waiting::an_error_means_not_held_when_a_release_races_the_deadline [20];
    waiting::waiters_are_served_in_the_order_in_which_they_came [18] Fair;
    waiting::those_who_gave_up_leave_the_order_as_it_was [18, 25] Fair;
    waiting::a_waiter_that_timed_out_is_not_granted_later [1, 25];
    waiting::every_one_of_many_waiters_has_its_turn [17] Notified;
    waiting::a_waiter_is_told_at_once_however_long_it_has_waited [17, 19] Notified;
    waiting::a_waiter_among_polling_clients_has_its_turn [18] Fair;
    waiting::an_occasional_waiter_waits_for_one_turn_of_a_busy_client [18] Fair;

    cancellation::a_dropped_acquire_holds_nothing [1, 25];
    cancellation::a_dropped_wait_leaves_the_line [1, 25];
    cancellation::a_wait_that_is_dropped_as_it_is_granted_holds_nothing [1, 25];
    cancellation::a_dropped_reentry_leaves_the_lease_as_it_was [1, 25];
    cancellation::a_dropped_reentry_extends_nothing [1, 25];
    cancellation::a_dropped_lock_holds_nothing [8, 25];
    cancellation::a_dropped_lock_that_waits_leaves_the_line [8, 25];
    cancellation::a_dropped_execute_holds_nothing [8, 25];
    cancellation::a_dropped_execute_that_waits_leaves_the_line [7, 8, 25];
    cancellation::a_guard_whose_release_is_dropped_is_given_back [8, 25];
    cancellation::a_dropped_release_frees_its_key_or_leaves_it [25];
    cancellation::a_dropped_release_of_a_lease_can_be_repeated [25];
    cancellation::a_dropped_extension_leaves_the_lease_held [25];
    cancellation::a_dropped_release_all_can_be_repeated [25];
    cancellation::a_dropped_question_changes_nothing [25] Lists;
    cancellation::a_dropped_migration_can_be_run_again [25];
    cancellation::close_goes_on_where_it_was_dropped [25];
    cancellation::waits_cancelled_at_any_moment_leave_nothing [25];

    closing::a_closed_client_grants_nothing_and_leaves_others_as_they_are [21];
    closing::waiters_learn_that_their_client_is_closed [21];
    closing::a_providers_own_waiters_learn_of_its_close [21];
    closing::guards_and_jobs_are_waited_for [8];
    closing::what_does_not_end_in_time_is_broken_and_counted [8];

    fencing::tokens_grow_over_releases [2];
    fencing::tokens_grow_for_clients_that_come_later [2];
    fencing::tokens_grow_for_processes_that_start_later [2] SharedBetweenProcesses + Processes;
    fencing::tokens_grow_over_expiry_force_and_kinds_of_hold [2];
    fencing::tokens_grow_over_hand_offs [2];
    fencing::a_guard_reports_its_own_token_after_its_end [31] Fencing;
    fencing::the_store_tells_the_token_that_was_granted [31] Fencing, Lists;
    fencing::a_resource_refuses_a_holder_that_was_overtaken [32] Fencing;

    resources::many_keys_are_held_at_once [28];
    resources::an_owner_with_few_keys_among_many_frees_just_those [12];
    resources::nothing_is_left_behind [27] + Entries;
    resources::tokens_go_on_after_the_clean_up [2, 27] + Entries;
    resources::many_waiters_of_one_key_leave_nothing_when_they_go [25, 27] + Entries;
    resources::mixed_work_of_many_clients_leaves_nothing [25, 27] + Entries;
    resources::no_task_is_left_behind [27];
    resources::connections_do_not_grow_with_holds_and_waiters [28] + OwnServer;

    processes::processes_exclude_each_other [10] SharedBetweenProcesses + Processes;
    processes::a_killed_processs_guard_is_free_at_its_leases_end [24] SharedBetweenProcesses + Processes;
    processes::a_killed_processs_lease_stays [24] SharedBetweenProcesses + Processes;
    processes::a_killed_processs_leases_last [24] SharedBetweenProcesses + Processes;
    processes::a_stopped_processs_guard_is_free_and_it_finds_that_out [14, 22] SharedBetweenProcesses + Processes;
    processes::processes_share_a_key_fairly [18] SharedBetweenProcesses, Fair + Processes;
    processes::a_killed_waiter_costs_the_queue_less_than_a_second [18] SharedBetweenProcesses, Fair + Processes;
    processes::a_stopped_waiter_costs_the_queue_less_than_a_second [18] SharedBetweenProcesses, Fair + Processes;

    takeover::a_killed_processs_guards_are_free_within_the_bound [24] SharedBetweenProcesses, Takeover + Processes + OwnServer;
    takeover::a_waiter_gets_a_killed_processs_key_within_the_bound [17, 24] SharedBetweenProcesses, Takeover + Processes + OwnServer;
    takeover::a_stopped_process_knows_its_loss_before_it_does_anything_else [14, 22, 24] SharedBetweenProcesses, Takeover + Processes + OwnServer;
    takeover::a_process_that_vanishes_with_its_machine_holds_nothing_up [24] SharedBetweenProcesses, Takeover + Processes + OwnServer;
    takeover::a_process_that_is_busy_keeps_its_guards [22, 24] SharedBetweenProcesses, Takeover + Processes + OwnServer;

    wrong_clocks::a_held_key_is_refused [4, 13] SharedBetweenProcesses + Processes + WrongClocks;
    wrong_clocks::a_lease_ends_neither_early_nor_late [3, 13, 15] SharedBetweenProcesses + Processes + WrongClocks;
    wrong_clocks::a_guard_is_kept_and_its_loss_is_found_out [13, 14, 22] SharedBetweenProcesses + Processes + WrongClocks;
    wrong_clocks::a_key_is_handed_over_in_time [13, 15, 17] SharedBetweenProcesses + Processes + WrongClocks;
    wrong_clocks::processes_hours_apart_exclude_each_other [10, 13] SharedBetweenProcesses + Processes + WrongClocks;

    names::different_keys_never_meet [6];
    names::keys_of_every_length_are_kept_apart [6];
    names::owners_are_any_text_and_compared_byte_by_byte [6];
    names::an_owner_is_found_by_its_whole_name [12];
    names::owners_with_like_names_exclude_each_other [4, 6];
    names::owners_with_like_names_free_only_their_own [12];

    claims::the_provider_claims_what_its_harness_says [21];
    claims::every_client_and_lease_has_the_providers_id [21];
    claims::migrations_can_be_run_again_and_at_once [20];
    claims::what_is_not_claimed_is_answered_as_unsupported [21];

    histories::random_work_by_many_clients_breaks_no_promise [2, 10, 22, 30];
    histories::random_work_under_short_leases_breaks_no_promise [2, 15, 22, 30];
    histories::a_crowd_in_one_process_breaks_no_promise [2, 10, 31];

    lost_replies::an_acquire_of_a_free_key_tells_the_truth [1, 20] + OwnServer;
    lost_replies::an_acquire_of_several_keys_tells_the_truth [1, 20] + OwnServer;
    lost_replies::an_acquire_that_waits_tells_the_truth [1, 17, 20] + OwnServer;
    lost_replies::an_acquire_that_reenters_tells_the_truth [1, 20] + OwnServer;
    lost_replies::a_lock_tells_the_truth [1, 20] + OwnServer;
    lost_replies::an_execute_tells_the_truth [7, 20] + OwnServer;
    lost_replies::an_extension_tells_the_truth [20] + OwnServer;
    lost_replies::a_release_of_a_lease_tells_the_truth [12, 20] + OwnServer;
    lost_replies::a_release_tells_the_truth [11, 20] + OwnServer;
    lost_replies::a_release_of_a_guard_tells_the_truth [8, 12, 20] + OwnServer;
    lost_replies::a_release_all_tells_the_truth [12, 20] + OwnServer;
    lost_replies::a_look_at_a_key_tells_the_truth [20] Lists + OwnServer;
    lost_replies::the_list_tells_the_truth [20] Lists + OwnServer;

    resets::an_acquire_of_a_free_key_tells_the_truth [1, 20, 26] + OwnServer;
    resets::an_acquire_of_several_keys_tells_the_truth [1, 20, 26] + OwnServer;
    resets::an_acquire_that_waits_tells_the_truth [1, 17, 20, 26] + OwnServer;
    resets::an_acquire_that_reenters_tells_the_truth [1, 20, 26] + OwnServer;
    resets::a_lock_tells_the_truth [1, 20, 26] + OwnServer;
    resets::an_execute_tells_the_truth [7, 20, 26] + OwnServer;
    resets::an_extension_tells_the_truth [20, 26] + OwnServer;
    resets::a_release_of_a_lease_tells_the_truth [12, 20, 26] + OwnServer;
    resets::a_release_tells_the_truth [11, 20, 26] + OwnServer;
    resets::a_release_of_a_guard_tells_the_truth [8, 12, 20, 26] + OwnServer;
    resets::a_release_all_tells_the_truth [12, 20, 26] + OwnServer;
    resets::a_look_at_a_key_tells_the_truth [20, 26] Lists + OwnServer;
    resets::the_list_tells_the_truth [20, 26] Lists + OwnServer;

    recovery::what_was_prepared_is_prepared_again [26] + OwnServer;

    notifications::no_wake_up_is_lost_while_they_are_cut [17, 26] + OwnServer;
    notifications::a_waiter_for_several_keys_gets_them_while_they_are_cut [1, 17, 26] + OwnServer;
    notifications::a_waiter_for_several_keys_that_is_told_nothing_gets_them [1, 17] Notified + OwnServer;
    notifications::a_waiter_that_is_told_nothing_gets_a_released_key [17] Notified + OwnServer;
    notifications::who_is_told_nothing_for_a_while_is_told_again [17, 26] Notified + OwnServer;
    notifications::waiting_and_releasing_cost_the_same_however_many_wait [19] Notified + OwnServer;

    restarts::holds_stay_as_they_were [24, 26] SurvivesRestart + OwnServer;
    restarts::clients_work_again_by_themselves [20, 26] + OwnServer;
    restarts::a_guard_is_valid_or_learns_of_its_loss [22, 26] + OwnServer;
    restarts::tokens_grow_over_them [2, 30] Fencing + OwnServer;

    hangs::a_guard_knows_of_its_loss_and_all_goes_on [14, 22, 26] + OwnServer;
    hangs::an_acquire_ends_at_its_deadline_and_leaves_nothing [1, 4, 20, 25] + OwnServer;
    hangs::calls_end_and_tell_the_truth [20, 21] + OwnServer;
    hangs::close_ends_while_the_server_hangs [20, 25] + OwnServer;
    hangs::close_ends_while_the_server_is_gone [20] + OwnServer;

    black_holes::a_guard_is_lost_before_others_get_its_key [14, 22] + OwnServer;
    black_holes::its_calls_end_and_it_works_again [20, 26] + OwnServer;
    black_holes::a_connection_that_only_one_end_lost_is_found_out [17, 20, 26] + OwnServer;
    black_holes::a_waiter_that_cannot_be_reached_costs_the_queue_less_than_a_second [18] Fair + OwnServer;
    black_holes::what_arrives_late_is_nobodys [1, 20] + OwnServer;
    black_holes::what_arrives_after_it_was_taken_back_is_nobodys [1, 20] + OwnServer;
    black_holes::futures_dropped_while_replies_are_slow_leave_nothing [25] + OwnServer;

    secrets::they_are_in_no_log_no_error_and_no_debug_text [29] + OwnServer + Secrets;

    soak::random_work_under_random_faults_breaks_no_promise [1, 2, 10, 20, 22, 26, 27, 30] + OwnServer;
};
