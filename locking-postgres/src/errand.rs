use std::future::Future;
use std::mem::replace;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

/// Work that has to be done to its end, whatever becomes of who began it. As long as that one polls it, nobody
/// else is woken for it; a task goes on with it where that one is dropped, or is seen to neglect it.
pub(crate) struct Errand {
    runtime: Handle,
    state: Mutex<State>,
}

enum State {
    /// Until somebody polls it: who is, would be woken so.
    Waits(Work, Option<Waker>),
    /// Just now. Nobody waits for the lock meanwhile.
    Polled,
    /// It is done, or a task does it.
    Over,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Errand {
    /// Work for the tasks of this runtime.
    pub(crate) fn new(
        runtime: &Handle,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        let state = Mutex::new(State::Waits(Box::pin(work), None));
        Arc::new(Self { runtime: runtime.clone(), state })
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.state(), State::Over)
    }

    /// Has a task go on with it, unless it is polled just now. Who began it is woken, and hears that it is over.
    pub(crate) fn take_over(&self) {
        let mut state = self.state();
        if !matches!(*state, State::Waits(..)) {
            return;
        }
        if let State::Waits(work, waker) = replace(&mut *state, State::Over) {
            drop(state);
            self.runtime.spawn(work);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is run by this runtime. The timers and tasks of another one, or of none, end with it, and what a
/// task goes on with here would need them.
fn is_current(runtime: &Handle) -> bool {
    Handle::try_current().is_ok_and(|current| current.id() == runtime.id())
}

/// The one that began an errand, and does it as long as it polls this.
pub(crate) struct Beginner(pub(crate) Arc<Errand>);

impl Beginner {
    /// Goes on with it. Ready when it is done, or a task does it.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if !is_current(&self.0.runtime) {
            self.0.take_over();
            return Poll::Ready(());
        }
        let State::Waits(mut work, waker) = self.leave(State::Polled) else {
            *self.0.state() = State::Over;
            return Poll::Ready(());
        };
        if work.as_mut().poll(context).is_ready() {
            *self.0.state() = State::Over;
            return Poll::Ready(());
        }
        let waker = waker.filter(|waker| waker.will_wake(context.waker()));
        let waker = waker.unwrap_or_else(|| context.waker().clone());
        *self.0.state() = State::Waits(work, Some(waker));
        Poll::Pending
    }

    /// What it was before.
    fn leave(&self, state: State) -> State {
        replace(&mut *self.0.state(), state)
    }
}

impl Drop for Beginner {
    fn drop(&mut self) {
        if let State::Waits(work, _) = self.leave(State::Over) {
            self.0.runtime.spawn(work);
        }
    }
}
