use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::{JoinSet, yield_now};

/// Work that tasks repeat.
pub(crate) trait Work: Send + Sync + 'static {
    /// How many times a task does it between two looks at the clock: more than once where the look
    /// would cost as much as the work. Several tasks yield there too, or else work that never has to
    /// wait would leave all but two of them without a turn; one alone doesn't, or else it would be
    /// measured how it is moved from worker to worker.
    const BATCH: u64 = 32;

    /// Does it once, as the task of this number.
    fn once(&self, task: usize) -> impl Future<Output = ()> + Send;
}

/// One of the things that are measured side by side.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    measure: Box<Measure>,
}

/// What gives a rate, for a number of tasks and a time.
type Measure = dyn Fn(&Handle, usize, Duration) -> f64;

impl Variant {
    pub(crate) fn new(name: &'static str, work: impl Work) -> Self {
        let work = Arc::new(work);
        Self::measured(name, move |runtime, tasks, length| {
            runtime.block_on(rate(Arc::clone(&work), tasks, length))
        })
    }

    /// One whose rate is found in a way of its own.
    pub(crate) fn measured(
        name: &'static str,
        measure: impl Fn(&Handle, usize, Duration) -> f64 + 'static,
    ) -> Self {
        Self { name, measure: Box::new(measure) }
    }

    /// The same in this runtime, whichever others are measured in.
    pub(crate) fn within(self, runtime: Handle) -> Self {
        let measure = self.measure;
        Self::measured(self.name, move |_, tasks, length| measure(&runtime, tasks, length))
    }

    /// How often a second the work was done, by that many tasks together.
    pub(crate) fn rate(&self, runtime: &Handle, tasks: usize, length: Duration) -> f64 {
        (self.measure)(runtime, tasks, length)
    }
}

async fn rate<W: Work>(work: Arc<W>, tasks: usize, length: Duration) -> f64 {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let work = Arc::clone(&work);
        running.spawn(async move {
            let mut done = 0;
            while started.elapsed() < length {
                for _ in 0..W::BATCH {
                    work.once(task).await;
                }
                done += W::BATCH;
                if tasks > 1 {
                    yield_now().await;
                }
            }
            done
        });
    }
    let done: u64 = running.join_all().await.into_iter().sum();
    done as f64 / started.elapsed().as_secs_f64()
}
