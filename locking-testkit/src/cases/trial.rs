//! Operations that are disturbed, and what must be so afterwards whatever disturbed them. Not cases:
//! `lost_replies` and `resets` are made of it.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use locking_core::{Capability, Error, HoldKind, Lease, LockContext, LockInfo, LockingModule};

use crate::faults::{Connection, Fault, Proxy};
use crate::fixture::Fixture;
use crate::support::{
    LONG, a_moment, always, assert_answer, is_free, soon, until_free, until_within, within,
};

/// Within this time, whatever happens to its connection, a call is answered.
const ANSWER: Duration = Duration::from_secs(10);

/// Within this time after its connection was lost, a client works again by itself.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// What is done while it is disturbed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Acquire,
    AcquireSeveral,
    AcquireWaiting,
    Reenter,
    Lock,
    Execute,
    Extend,
    ReleaseLease,
    Release,
    ReleaseGuard,
    ReleaseAll,
    Inspect,
    List,
}

impl Operation {
    pub(super) const ALL: [Self; 13] = [
        Self::Acquire,
        Self::AcquireSeveral,
        Self::AcquireWaiting,
        Self::Reenter,
        Self::Lock,
        Self::Execute,
        Self::Extend,
        Self::ReleaseLease,
        Self::Release,
        Self::ReleaseGuard,
        Self::ReleaseAll,
        Self::Inspect,
        Self::List,
    ];

    /// Whether the provider says that it can do that.
    pub(super) fn is_claimed(self, f: &Fixture) -> bool {
        !matches!(self, Self::Inspect | Self::List) || f.capabilities().has(Capability::Lists)
    }
}

/// Called before what is disturbed.
pub(super) type Disturb = Box<dyn FnOnce() + Send>;

/// A client behind a proxy, and what it tries.
pub(super) struct Trial {
    pub(super) proxy: Arc<Proxy>,
    module: LockingModule,
    others: LockingModule,
    space: String,
    count: AtomicUsize,
    /// Whether anything happens that an error would be an answer to.
    is_disturbed: AtomicBool,
}

impl Trial {
    pub(super) async fn new(f: &Fixture) -> Self {
        let proxy = Arc::new(f.proxy().await);
        let module = LockingModule::with_provider(f.client_at(proxy.address()).await);
        let (others, space, count) = (f.b.clone(), f.key(""), AtomicUsize::new(0));
        Self { proxy, module, others, space, count, is_disturbed: AtomicBool::new(true) }
    }

    /// Does it once while this fault is there, and looks at what came of it. Answers whether the
    /// fault cut a connection.
    pub(super) async fn with_fault(&self, operation: Operation, fault: Fault) -> bool {
        let before = self.open_connections();
        let proxy = Arc::clone(&self.proxy);
        self.run(operation, Box::new(move || proxy.inject(fault))).await;
        self.proxy.restore();
        let was_cut = !before.is_subset(&self.open_connections());
        self.until_usable().await;
        was_cut
    }

    fn open_connections(&self) -> BTreeSet<u64> {
        self.proxy.connections().iter().map(Connection::number).collect()
    }

    /// By itself, the client works again.
    async fn until_usable(&self) {
        let key = self.key("again");
        until_within(AGAIN, "the client works again", || async {
            match self.module.acquire(&key).await {
                Ok(lease) => matches!(self.module.release_lease(&lease).await, Ok(true)),
                Err(_) => false,
            }
        })
        .await;
    }

    /// Does it once, and looks at what came of it: it succeeds.
    pub(super) async fn undisturbed(&self, operation: Operation) {
        self.is_disturbed.store(false, Ordering::SeqCst);
        self.run(operation, Box::new(|| {})).await;
        self.is_disturbed.store(true, Ordering::SeqCst);
    }

    /// Does it once, and looks at what came of it.
    pub(super) fn run(
        &self,
        operation: Operation,
        disturb: Disturb,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        match operation {
            Operation::Acquire => Box::pin(self.acquire(disturb)),
            Operation::AcquireSeveral => Box::pin(self.acquire_several(disturb)),
            Operation::AcquireWaiting => Box::pin(self.acquire_waiting(disturb)),
            Operation::Reenter => Box::pin(self.reenter(disturb)),
            Operation::Lock => Box::pin(self.lock(disturb)),
            Operation::Execute => Box::pin(self.execute(disturb)),
            Operation::Extend => Box::pin(self.extend(disturb)),
            Operation::ReleaseLease => Box::pin(self.release_lease(disturb)),
            Operation::Release => Box::pin(self.release(disturb)),
            Operation::ReleaseGuard => Box::pin(self.release_guard(disturb)),
            Operation::ReleaseAll => Box::pin(self.release_all(disturb)),
            Operation::Inspect => Box::pin(self.inspect(disturb)),
            Operation::List => Box::pin(self.list(disturb)),
        }
    }

    async fn acquire(&self, disturb: Disturb) {
        let key = self.key("k");
        disturb();
        let answer = within(ANSWER, "an acquire", self.module.acquire(&key)).await;
        self.held_or_undone(answer, &[&key]).await;
    }

    async fn acquire_several(&self, disturb: Disturb) {
        let keys = [self.key("1"), self.key("2"), self.key("3")];
        disturb();
        let answer = within(ANSWER, "an acquire", self.module.acquire(&keys).wait(LONG)).await;
        self.held_or_undone(answer, &[&keys[0], &keys[1], &keys[2]]).await;
    }

    async fn acquire_waiting(&self, disturb: Disturb) {
        let key = self.key("k");
        let held = self.others.acquire(&key).await.expect("free");
        let (module, wanted) = (self.module.clone(), key.clone());
        disturb();
        let waiting = tokio::spawn(async move { module.acquire(wanted).wait(LONG).await });
        a_moment().await;
        assert!(self.others.release_lease(&held).await.expect("answered"));
        // What was lost is asked for again, and a wake-up is not lost.
        let answer = soon("the waiter", waiting).await.expect("no panic");
        self.held_or_undone(answer, &[&key]).await;
    }

    async fn reenter(&self, disturb: Disturb) {
        let (old, new) = (self.key("old"), self.key("new"));
        let first = self.module.acquire(&old).owner("o").expire(LONG).await.expect("free");
        disturb();
        let again = self.module.acquire([&old, &new]).owner("o").expire(LONG * 2);
        match within(ANSWER, "an acquire", again).await {
            Ok(lease) => {
                assert_eq!(lease.token_of(&old), Some(first.token()), "re-entered");
                assert!(self.others.release_lease(&lease).await.expect("answered"));
            }
            Err(error) => self.is_uncertain(&error),
        }
        // Taken or not, given back or undone.
        until_free(&self.others, &new).await;
        assert!(!is_free(&self.others, &old).await, "what was held before stays so");
        assert!(self.others.release_lease(&first).await.expect("answered"), "as it was");
    }

    async fn lock(&self, disturb: Disturb) {
        let key = self.key("k");
        disturb();
        match within(ANSWER, "a lock", self.module.lock(&key).lease(LONG)).await {
            Ok(guard) => {
                guard.check().expect("just granted");
                assert!(!is_free(&self.others, &key).await, "granted means held");
                drop(guard);
            }
            Err(error) => self.is_uncertain(&error),
        }
        until_free(&self.others, &key).await;
    }

    async fn execute(&self, disturb: Disturb) {
        let (key, runs) = (self.key("k"), Arc::new(AtomicUsize::new(0)));
        let (others, wanted, begun) = (self.others.clone(), key.clone(), Arc::clone(&runs));
        let job = |lock: LockContext| async move {
            begun.fetch_add(1, Ordering::SeqCst);
            let is_free = is_free(&others, &wanted).await;
            always!(!is_free || lock.check().is_err(), "two believe in `{wanted}`");
            assert!(!is_free, "it runs alone");
        };
        disturb();
        let answer = within(ANSWER, "a job", self.module.execute(&key, job).lease(LONG)).await;
        match answer {
            Ok(()) => assert_eq!(runs.load(Ordering::SeqCst), 1, "run once"),
            Err(error) => {
                self.is_uncertain(&error);
                assert_eq!(runs.load(Ordering::SeqCst), 0, "never begun: {error:?}");
            }
        }
        until_free(&self.others, &key).await;
    }

    async fn extend(&self, disturb: Disturb) {
        let key = self.key("k");
        let lease = self.module.acquire(&key).expire(LONG).await.expect("free");
        disturb();
        let answer = within(ANSWER, "an extension", self.module.extend(&lease, LONG * 2)).await;
        if let Err(error) = answer {
            self.is_uncertain(&error);
        }
        assert!(!is_free(&self.others, &key).await, "extended or not, it is held");
        assert!(self.others.release_lease(&lease).await.expect("answered"), "by the same lease");
    }

    async fn release_lease(&self, disturb: Disturb) {
        let key = self.key("k");
        let lease = self.module.acquire(&key).await.expect("free");
        let next = self.next(&key).await;
        disturb();
        let answer = within(ANSWER, "a release", self.module.release_lease(&lease)).await;
        match answer {
            Ok(released) => assert!(released, "it was held"),
            Err(error) => {
                self.is_uncertain(&error);
                // Carried out or not: a second call settles it.
                soon("again", self.others.release_lease(&lease)).await.expect("answered");
            }
        }
        self.the_next_holds(next, &key).await;
    }

    async fn release(&self, disturb: Disturb) {
        let key = self.key("k");
        let lease = self.module.acquire(&key).await.expect("free");
        let next = self.next(&key).await;
        disturb();
        let answer = within(ANSWER, "a release", self.module.release(&key)).await;
        match answer {
            Ok(released) => assert!(released, "it was held"),
            Err(error) => {
                self.is_uncertain(&error);
                // Carried out or not: by its token, a second call settles it. The next one's, which is
                // anonymous too, isn't its to free.
                soon("again", self.others.release_lease(&lease)).await.expect("answered");
            }
        }
        self.the_next_holds(next, &key).await;
    }

    async fn release_guard(&self, disturb: Disturb) {
        let key = self.key("k");
        let guard = self.module.lock(&key).lease(LONG).await.expect("free");
        let next = self.next(&key).await;
        disturb();
        if let Err(error) = within(ANSWER, "a release", guard.release()).await {
            // In the background, it is given back.
            self.is_uncertain(&error);
        }
        self.the_next_holds(next, &key).await;
    }

    async fn release_all(&self, disturb: Disturb) {
        let (keys, owner) = ([self.key("1"), self.key("2"), self.key("3")], self.key("owner"));
        self.module.acquire(&keys).owner(&owner).await.expect("free");
        disturb();
        let answer = within(ANSWER, "a release", self.module.release_all().owner(&owner)).await;
        match answer {
            Ok(freed) => assert_eq!(freed, 3, "all were held"),
            Err(error) => {
                self.is_uncertain(&error);
                self.others.release_all().owner(&owner).await.expect("answered");
            }
        }
        for key in &keys {
            until_free(&self.others, key).await;
        }
    }

    async fn inspect(&self, disturb: Disturb) {
        let key = self.key("k");
        let lease = self.others.acquire(&key).owner("o").await.expect("free");
        disturb();
        self.tells(within(ANSWER, "a look", self.module.inspect(&key)).await, lease).await;
    }

    async fn list(&self, disturb: Disturb) {
        let key = self.key("k");
        let lease = self.others.acquire(&key).owner("o").await.expect("free");
        disturb();
        let answer = within(ANSWER, "the list", self.module.list()).await;
        let found = |list: Vec<LockInfo>| list.into_iter().find(|info| info.key.as_str() == key);
        self.tells(answer.map(found), lease).await;
    }

    /// Who asks hears of the hold as it is, or that there is no answer, which leaves nothing open.
    async fn tells(&self, answer: locking_core::Result<Option<LockInfo>>, lease: Lease) {
        match answer {
            Ok(info) => {
                let info = info.expect("it is held");
                let told = (info.token, info.owner, info.kind);
                assert_eq!(told, (lease.token(), lease.owner.clone(), HoldKind::Lease));
            }
            Err(error) => {
                self.is_uncertain(&error);
                assert_answer!(error, Error::Unavailable { .. }, "it only asked");
            }
        }
        assert!(self.others.release_lease(&lease).await.expect("answered"), "held all the time");
    }

    /// An acquisition without an owner that is next in the queue.
    async fn next(&self, key: &str) -> tokio::task::JoinHandle<locking_core::Result<Lease>> {
        let (module, wanted) = (self.others.clone(), key.to_owned());
        let next = tokio::spawn(async move { module.acquire(wanted).wait(LONG).await });
        a_moment().await;
        assert!(!next.is_finished(), "it waits");
        next
    }

    /// It has the key, and nothing that came of the operation before frees it.
    async fn the_next_holds(
        &self,
        next: tokio::task::JoinHandle<locking_core::Result<Lease>>,
        key: &str,
    ) {
        let lease = soon("the next", next).await.expect("no panic").expect("granted");
        a_moment().await;
        assert!(!is_free(&self.others, key).await, "the next one's hold is nobody else's to free");
        assert!(self.others.release_lease(&lease).await.expect("answered"), "it held on");
    }

    /// Granted is held, by exactly who was told so; not granted is free, and is never said to be
    /// somebody else's: nobody else was there.
    async fn held_or_undone(&self, answer: locking_core::Result<Lease>, keys: &[&str]) {
        match answer {
            Ok(lease) => {
                for key in keys {
                    assert!(!is_free(&self.others, key).await, "granted means held");
                }
                assert!(
                    self.others.release_lease(&lease).await.expect("answered"),
                    "by the caller"
                );
            }
            Err(error) => self.is_uncertain(&error),
        }
        for key in keys {
            until_free(&self.others, key).await;
        }
    }

    /// It says what is true, and has a reason to.
    fn is_uncertain(&self, error: &Error) {
        assert!(
            self.is_disturbed.load(Ordering::SeqCst),
            "nothing happened, and it says: {error:?}"
        );
        assert_uncertain(error);
    }

    /// A key of its own each time.
    fn key(&self, name: &str) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{}{number}/{name}", self.space)
    }
}

/// What a call may say whose connection broke: anything else would be untrue.
pub(super) fn assert_uncertain(error: &Error) {
    assert_answer!(
        error,
        Error::UnknownOutcome { .. } | Error::Unavailable { .. },
        "a broken connection is all that happened"
    );
}

/// A case for each operation, by what happens to it.
macro_rules! for_each_operation {
    ($happens:ident) => {
        for_each_operation! { $happens:
            an_acquire_of_a_free_key_tells_the_truth: Acquire;
            an_acquire_of_several_keys_tells_the_truth: AcquireSeveral;
            an_acquire_that_waits_tells_the_truth: AcquireWaiting;
            an_acquire_that_reenters_tells_the_truth: Reenter;
            a_lock_tells_the_truth: Lock;
            an_execute_tells_the_truth: Execute;
            an_extension_tells_the_truth: Extend;
            a_release_of_a_lease_tells_the_truth: ReleaseLease;
            a_release_tells_the_truth: Release;
            a_release_of_a_guard_tells_the_truth: ReleaseGuard;
            a_release_all_tells_the_truth: ReleaseAll;
            a_look_at_a_key_tells_the_truth: Inspect;
            the_list_tells_the_truth: List;
        }
    };
    ($happens:ident: $($case:ident: $operation:ident;)+) => {
        $(pub(crate) async fn $case(f: Fixture) {
            $happens(&f, Operation::$operation).await;
        })+
    };
}
pub(crate) use for_each_operation;
